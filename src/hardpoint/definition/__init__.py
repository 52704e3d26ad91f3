"""What a contract is: the decorators that read a class, the model, and the kinds of the contract language."""
