"""`python -m gradcorr_fast`: the command line, where its script is not on the path."""

from .cli import main

if __name__ == "__main__":
    main(prog_name="gradcorr-fast")
