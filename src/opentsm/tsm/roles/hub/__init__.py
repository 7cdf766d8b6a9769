"""The hub: knows secure elements, instances and operations; plans, sends and settles; holds no card keys."""
