"""Slots of a vtable -> Python methods: one behaviour, in several bindings."""
