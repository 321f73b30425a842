-- In a container, Prosody has to listen for components on its own network, not on loopback alone. Do not publish port
-- 5347 on more than the loopback address of the host: whoever reaches it needs only the secret of a component.

component_interfaces = { "*" }
