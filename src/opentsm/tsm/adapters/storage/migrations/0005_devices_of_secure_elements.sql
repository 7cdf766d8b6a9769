-- An app's call names a device: which secure elements are bound to it, or reserved for it?
CREATE INDEX secure_elements_device ON secure_elements ((document::jsonb ->> 'device_id'), id);
CREATE INDEX secure_elements_reserved ON secure_elements ((document::jsonb ->> 'reserved_for'), id);
