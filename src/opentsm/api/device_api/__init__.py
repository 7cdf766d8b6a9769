"""The device API: calls of an app on a device (TSM-API of BSI TR-03165) over HTTP."""
