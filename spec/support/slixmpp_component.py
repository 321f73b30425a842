#!/usr/bin/python3
"""A component of slixmpp with its own XEP-0356 plugin.

Reads a user's roster, changes it, sends a message and publishes a bookmark in the
user's name, and prints a line for each step that is done.

slixmpp_component.py JID SECRET PORT USER RECIPIENT
"""

import asyncio
import sys

from slixmpp import ComponentXMPP, Iq, Message
from slixmpp.xmlstream import ET

BOOKMARK = """
<pubsub xmlns="http://jabber.org/protocol/pubsub">
  <publish node="urn:xmpp:bookmarks:1">
    <item id="balcony@conference.capulet.lit"><conference xmlns="urn:xmpp:bookmarks:1" name="Balcony"/></item>
  </publish>
</pubsub>
"""


class Gateway(ComponentXMPP):
    def __init__(self, jid, secret, port, user, recipient):
        super().__init__(jid, secret, "127.0.0.1", port)
        self.user = user
        self.recipient = recipient
        self.register_plugin("xep_0356")
        self.add_event_handler("privileges_advertised", self.use_privileges)
        self.used = False

    async def publish_bookmark(self, privilege):
        if hasattr(privilege, "send_privileged_iq"):
            iq = Iq()
            iq["type"] = "set"
            iq["id"] = "bookmark-1"
            iq["from"] = iq["to"] = self.user
            iq.append(ET.fromstring(BOOKMARK))
            await privilege.send_privileged_iq(iq)
            return
        # slixmpp before 1.8.4 has no such method.
        inner = ET.Element("{jabber:client}iq", {"type": "set", "id": "bookmark-1"})
        inner.append(ET.fromstring(BOOKMARK))
        iq = self.make_iq_set(ito=self.user, ifrom=self.boundjid.bare)
        wrapper = ET.Element("{urn:xmpp:privilege:2}privileged_iq")
        wrapper.append(inner)
        iq.append(wrapper)
        answer = await iq.send(timeout=5)
        forwarded = answer.xml.find(
            "{urn:xmpp:privilege:2}privilege/{urn:xmpp:forward:0}forwarded/{jabber:client}iq"
        )
        if forwarded is None or forwarded.get("type") != "result" or forwarded.get("id") != "bookmark-1":
            raise ValueError("answer: %s" % answer)

    async def use_privileges(self, _):
        if self.used:
            return
        self.used = True
        # The plugin sends messages to this; up to now it was where to connect to.
        self.server_host = self.user.split("@")[1]
        try:
            privilege = self.plugin["xep_0356"]
            print("advertised", flush=True)
            roster = await privilege.get_roster(self.user, timeout=5)
            print("roster", len(roster["roster"]["items"]), flush=True)
            await privilege.set_roster(
                self.user,
                {"friend@" + self.boundjid.bare: {"name": "Friend", "subscription": "both", "groups": ["Gateway"]}},
                timeout=5,
            )
            print("contact", flush=True)
            message = Message()
            message["type"] = "chat"
            message["from"] = self.user
            message["to"] = self.recipient
            message["body"] = "Wherefore art thou Romeo?"
            privilege.send_privileged_message(message)
            print("message", flush=True)
            await self.publish_bookmark(privilege)
            print("bookmark", flush=True)
        except Exception as error:
            print("failed", repr(error), flush=True)
        await self.disconnect(wait=0)


if __name__ == "__main__":
    jid, secret, port, user, recipient = sys.argv[1:]
    gateway = Gateway(jid, secret, int(port), user, recipient)
    gateway.connect()
    asyncio.get_event_loop().run_until_complete(asyncio.wait_for(gateway.disconnected, 20))
