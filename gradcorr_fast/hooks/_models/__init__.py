"""How the models of a framework are run, where that fills a file of its own."""
