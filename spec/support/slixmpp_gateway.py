#!/usr/bin/python3
"""A gateway of slixmpp that users register with: by XEP-0077, by a command or by a chat message.

Before it answers, it reads the user's roster and adds itself to it, as slidge does. It tries the same
with the accounts of others. It prints "ready", and what came of each attempt.

slixmpp_gateway.py JID SECRET PORT OTHER…
"""

import asyncio
import sys

from slixmpp import ComponentXMPP, Iq
from slixmpp.exceptions import IqError
from slixmpp.stanza import Error
from slixmpp.xmlstream import register_stanza_plugin

# Otherwise slixmpp up to 1.8 does not find the errors in a component's stanzas.
Error.namespace = "jabber:component:accept"
register_stanza_plugin(Iq, Error)


class Gateway(ComponentXMPP):
    def __init__(self, jid, secret, port, others):
        super().__init__(jid, secret, "127.0.0.1", port)
        self.others = others
        for name in ("xep_0030", "xep_0050", "xep_0077", "xep_0356"):
            self.register_plugin(name)
        self.plugin["xep_0077"].form_fields = {"username"}
        self.plugin["xep_0077"].api.register(self.validate, "user_validate")
        self.plugin["xep_0050"].add_command(node="register", name="Register", handler=self.handle_command)
        self.add_event_handler("message", self.handle_message)
        self.add_event_handler("privileges_advertised", lambda _: print("ready", flush=True))

    async def add_myself(self, user):
        item = {"name": "Gateway", "subscription": "both", "groups": ["Gateways"]}
        try:
            await self.plugin["xep_0356"].get_roster(user, timeout=10)
        except IqError as error:
            print(user, "get", error.condition, flush=True)
        try:
            await self.plugin["xep_0356"].set_roster(user, {self.boundjid.bare: item}, timeout=10)
            print(user, "served", flush=True)
        except IqError as error:
            print(user, "set", error.condition, flush=True)

    async def register(self, user):
        for other in self.others:
            await self.add_myself(other)
        await self.add_myself(user.bare)

    async def validate(self, _jid, _node, ifrom, _registration):
        """Is called by the XEP-0077 plugin before it sends the result."""
        await self.register(ifrom)

    async def handle_command(self, iq, session):
        """Is called by the XEP-0050 plugin before it sends the result."""
        await self.register(iq["from"])
        session["notes"] = [("info", "Registered")]
        return session

    async def handle_message(self, message):
        if message["type"] != "error" and message["body"] == "register":
            await self.register(message["from"])
            message.reply("Registered").send()


async def main(jid, secret, port, *others):
    gateway = Gateway(jid, secret, int(port), others)
    gateway.connect()
    await gateway.disconnected


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
