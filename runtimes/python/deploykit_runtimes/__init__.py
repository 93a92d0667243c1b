"""The torch-free runtime of deploykit: models in, answers out."""
