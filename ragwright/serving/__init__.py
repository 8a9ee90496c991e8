"""The local model server: a process that speaks the SageMaker container contract on the loopback interface.

Start it with `python -m ragwright.serving --help`; hosts in `ragwright.endpoints` do.
"""
