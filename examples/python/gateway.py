#!/usr/bin/python3
"""A gateway to another network, in small.

It puts one contact of that network, "friend", into a user's roster, and shows the user's own clients what the user
is taken to have written to the friend over there. What is written to the friend here is echoed, where a real gateway
would pass it on. It runs until it is interrupted.

    gateway.py juliet@capulet.lit

The environment tells the rest: GATEWAY_DOMAIN, GATEWAY_SECRET, and where Prosody listens for components, GATEWAY_SERVER.
It needs slixmpp 1.8 or later.
"""

import asyncio
import os
import signal
import sys

from slixmpp import JID, ComponentXMPP, Iq, Message
from slixmpp.exceptions import IqError, IqTimeout
from slixmpp.stanza import Error
from slixmpp.xmlstream import register_stanza_plugin
from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher import StanzaPath

# Else slixmpp does not find the errors in a component's stanzas. Later versions have an option for this, fix_error_ns.
Error.namespace = "jabber:component:accept"
for stanza in (Iq, Message):
    register_stanza_plugin(stanza, Error)


class Gateway(ComponentXMPP):
    def __init__(self, domain, secret, address, port, user):
        super().__init__(domain, secret, address, port)
        self.user = JID(user)
        self.friend = JID("friend@" + domain)
        self.privileges = asyncio.get_event_loop().create_future()
        self.register_plugin("xep_0356")
        self.register_handler(Callback("Privileges of the host", StanzaPath("message/privilege"), self.take_privileges))
        self.register_handler(Callback("Roster push", StanzaPath("iq@type=set/roster"), self.take_push))
        self.add_event_handler("message", self.take_message)

    def take_privileges(self, message):
        """The server says what it grants right after the handshake."""
        if message["from"] == self.user.domain and not self.privileges.done():
            self.privileges.set_result({perm["access"]: perm["type"] for perm in message["privilege"]["perms"]})

    def take_push(self, iq):
        """Whenever a roster changes, whoever changed it, the server tells."""
        # Only the server can send from a user's bare JID, so nobody else is believed.
        if iq["from"].resource or iq["from"].domain != self.user.domain:
            iq.reply().error().send()
            return
        for jid, item in iq["roster"]["items"].items():
            print(f"roster of {iq['from']}: {jid}, subscription {item['subscription']}")
        iq.reply().send()

    def take_message(self, message):
        if message["type"] == "error":
            print(f"{message['from']} refuses message {message['id']}: {message['error']['condition']}", file=sys.stderr)
        elif message["to"] == self.friend and message["from"] == self.user:
            # Clients write from their full JIDs. From the bare one it is what we sent in the user's name.
            print(f"{self.user} wrote over there: {message['body']}")
        elif message["to"] == self.friend and message["body"]:
            print(f"{message['from']} writes: {message['body']}")
            message.reply("You said: " + message["body"]).send()

    def send_as_user(self, to, body):
        """The user's clients see it as sent (XEP-0280), and it is in the user's archive (XEP-0313)."""
        message = Message()
        message["from"], message["to"], message["type"] = self.user, to, "chat"
        message["id"] = self.new_id()
        message["body"] = body
        # The plugin's send_privileged_message does the same from slixmpp 1.8.4 on.
        wrapper = self.make_message(mto=self.user.domain, mfrom=self.boundjid.bare)
        wrapper["id"] = message["id"]
        wrapper["privilege"]["forwarded"].append(message)
        wrapper.send()

    async def use_privileges(self):
        await self.wait_until("session_start", 5)
        try:
            granted = await asyncio.wait_for(self.privileges, 1)
        except asyncio.TimeoutError:
            raise PermissionError(f"{self.user.domain} grants nothing to {self.boundjid}, see privileged_entities") from None
        print(f"{self.user.domain} grants:", ", ".join(f"{access} {kind}".strip() for access, kind in granted.items()))
        if granted.get("roster") != "both":
            raise PermissionError("without roster both there is nothing to do")
        roster = await self["xep_0356"].get_roster(self.user)
        contacts = [str(jid) for jid in roster["roster"]["items"]]
        print(f"contacts of {self.user}: {', '.join(contacts)}")
        # With privileges the subscription can be set ready, nobody has to be asked.
        item = {"name": "Friend", "subscription": "both", "groups": ["Gateway"]}
        await self["xep_0356"].set_roster(self.user, {self.friend: item})
        print(f"{self.friend} is a contact of {self.user}")
        self.send_as_user(self.friend, "Hello from the other side")


async def main(user="juliet@capulet.lit"):
    address, port = os.environ.get("GATEWAY_SERVER", "127.0.0.1:5347").rsplit(":", 1)
    gateway = Gateway(
        os.environ.get("GATEWAY_DOMAIN", "gateway.capulet.lit"), os.environ.get("GATEWAY_SECRET", "secret"), address, int(port), user
    )
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, gateway.disconnect)
    gateway.connect()
    try:
        await gateway.use_privileges()
    except (IqError, IqTimeout, PermissionError, asyncio.TimeoutError) as error:
        # An error of the server's is told by its condition, such as "forbidden".
        print("failed:", getattr(error, "condition", None) or str(error) or "no connection as a component", file=sys.stderr)
        await gateway.disconnect()
        return 1
    await gateway.disconnected
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(*sys.argv[1:])))
