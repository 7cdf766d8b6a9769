"""The `/v1` API: what TR-03165 lacks — parties, secure elements, devices, instances, operations, audit."""
