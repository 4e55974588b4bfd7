"""The Open Inference Protocol over REST: HTTP in front, the workers' own inference methods behind.

app        paths and methods
body       how much of a request is read, and how
requests   a request's JSON and binary tensors → inference.ModelInferRequest
answers    the workers' messages → JSON and binary tensors
values     JSON values ↔ arrays
failures   the error tree → HTTP
"""
