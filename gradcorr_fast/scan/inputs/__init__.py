"""What a scan is given, as people have it: genomes, variants, regions."""
