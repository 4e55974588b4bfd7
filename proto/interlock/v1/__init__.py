"""Generated code over the .proto files in this folder. Edit those, then run `make proto`."""
