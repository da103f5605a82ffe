"""The authors' models, and their pickles read without unpickling."""
