#!/usr/bin/python3
"""A small gateway to another network.

It adds one contact of that network, "friend", to a user's roster, bookmarks a room, and shows the user's own clients
what the user seems to have written to the friend over there. It echoes what the user writes to the friend here, where a
real gateway would pass it on. It runs until it is interrupted, which is status 0, or until the server closes the
connection, which is status 1, so that it is started again.

    gateway.py juliet@capulet.lit

Environment variables say the rest: GATEWAY_DOMAIN, GATEWAY_SECRET, and GATEWAY_SERVER, where Prosody listens for
components. It needs slixmpp 1.8 or later.
"""

import asyncio
import os
import signal
import sys

from slixmpp import JID, ComponentXMPP, Iq, Message
from slixmpp.exceptions import IqError, IqTimeout
from slixmpp.stanza import Error
from slixmpp.xmlstream import ET, register_stanza_plugin
from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher import StanzaPath

# Otherwise slixmpp does not find the errors in a component's stanzas. Later versions have an option for this, fix_error_ns.
Error.namespace = "jabber:component:accept"
for stanza in (Iq, Message):
    register_stanza_plugin(stanza, Error)

PRIVILEGE = "{urn:xmpp:privilege:2}"
BOOKMARK = """
<pubsub xmlns="http://jabber.org/protocol/pubsub">
  <publish node="urn:xmpp:bookmarks:1">
    <item id="room@{domain}"><conference xmlns="urn:xmpp:bookmarks:1" name="A room over there"/></item>
  </publish>
</pubsub>
"""


def reason(condition, text):
    """Gives the condition of an error, such as "forbidden" or "not-authorized", with the text that explains it."""
    return f"{condition} - {text}" if text else condition


def permissions(privilege):
    """Gives the permissions in a privilege element as text: roster both, iq set NAMESPACE."""
    granted = []
    for perm in privilege.findall(PRIVILEGE + "perm"):
        if perm.get("access") == "iq":
            granted += [f"iq {space.get('type')} {space.get('ns')}" for space in perm.findall(PRIVILEGE + "namespace")]
        else:
            granted.append(f"{perm.get('access')} {perm.get('type')}")
    return granted


class Gateway(ComponentXMPP):
    def __init__(self, domain, secret, address, port, user):
        super().__init__(domain, secret, address, port)
        self.user = JID(user)
        self.friend = JID("friend@" + domain)
        self.permissions = asyncio.get_event_loop().create_future()
        self.online = asyncio.get_event_loop().create_future()
        self.register_plugin("xep_0356")
        self.register_handler(Callback("Permissions", StanzaPath("message/privilege"), self.take_permissions))
        self.register_handler(Callback("Roster push", StanzaPath("iq@type=set/roster"), self.take_push))
        self.add_event_handler("message", self.take_message)
        self.add_event_handler("message_error", self.take_message_error)
        self.add_event_handler("session_start", lambda _: self.settle(None))
        # A wrong secret is the stream error not-authorized.
        self.add_event_handler("stream_error", lambda error: self.settle(ConnectionError(error["condition"])))

    def settle(self, error):
        """Notes whether the server has accepted the component."""
        if not self.online.done():
            self.online.set_exception(error) if error else self.online.set_result(None)

    def take_permissions(self, message):
        """Takes what the server says right behind the handshake, and when the admin changes it."""
        if message["from"] != self.user.domain:
            return
        granted = permissions(message["privilege"].xml)
        print(f"{self.user.domain} grants:", ", ".join(granted))
        if not self.permissions.done():
            self.permissions.set_result(granted)

    def take_push(self, iq):
        """Takes a change of a roster, whoever made it."""
        # Only the server can send from a user's bare JID: believe nobody else.
        if iq["from"].resource or iq["from"].domain != self.user.domain:
            iq.reply().error().send()
            return
        for jid, item in iq["roster"]["items"].items():
            print(f"roster of {iq['from']}: {jid}, subscription {item['subscription']}")
        iq.reply().send()

    def take_message(self, message):
        if message["type"] == "error":
            return
        if message["to"] == self.friend and message["from"] == self.user:
            # Clients write from their full JIDs. The bare one is the sender of what we sent in the user's name.
            print(f"{self.user} wrote over there: {message['body']}")
        elif message["to"] == self.friend and message["body"]:
            print(f"{message['from']} writes: {message['body']}")
            message.reply("You said: " + message["body"]).send()

    def take_message_error(self, message):
        why = reason(message["error"]["condition"], message["error"]["text"])
        print(f"{message['from']} refuses message {message['id']}: {why}", file=sys.stderr)

    def send_as_user(self, to, body):
        """Sends a message: the user's clients see it as sent (XEP-0280), and the user's archive keeps it (XEP-0313)."""
        message = Message()  # self.make_message() would have the namespace of components, which is refused here
        message["from"], message["to"], message["type"] = self.user, to, "chat"
        message["id"] = self.new_id()
        message["body"] = body
        # The plugin's send_privileged_message does the same from slixmpp 1.8.4 on.
        wrapper = self.make_message(mto=self.user.domain, mfrom=self.boundjid.bare)
        wrapper["id"] = message["id"]
        wrapper["privilege"]["forwarded"].append(message)
        wrapper.send()

    async def set_as_user(self, payload):
        """Sends an iq of type set to the user's own account, and gives the type of the answer."""
        # The plugin's send_privileged_iq does the same from slixmpp 1.8.4 on.
        iq = self.make_iq_set(ito=self.user, ifrom=self.boundjid.bare)
        inner = ET.Element("{jabber:client}iq", {"type": "set", "id": self.new_id()})
        inner.append(ET.fromstring(payload))
        ET.SubElement(iq.xml, PRIVILEGE + "privileged_iq").append(inner)
        answer = await iq.send()
        return answer.xml.find(".//{jabber:client}iq").get("type")

    async def use_permissions(self):
        await asyncio.wait_for(self.online, 15)
        try:
            granted = await asyncio.wait_for(self.permissions, 3)
        except asyncio.TimeoutError:
            raise PermissionError(f"{self.user.domain} grants nothing to {self.boundjid}, see privileged_entities") from None
        if "roster both" not in granted:
            raise PermissionError(f"{self.user.domain} does not grant roster both")
        roster = await self.plugin["xep_0356"].get_roster(self.user)
        contacts = [str(jid) for jid in roster["roster"]["items"]]
        print(f"contacts of {self.user}: {', '.join(contacts)}")
        # The subscription is there at once: nobody has to be asked.
        item = {"name": "Friend", "subscription": "both", "groups": ["Gateway"]}
        await self.plugin["xep_0356"].set_roster(self.user, {self.friend: item})
        print(f"{self.friend} is a contact of {self.user}")
        if "iq set http://jabber.org/protocol/pubsub" in granted:
            print("bookmark:", await self.set_as_user(BOOKMARK.format(domain=self.boundjid.bare)))
        self.send_as_user(self.friend, "Hello from the other side")


async def main(user="juliet@capulet.lit"):
    address, port = os.environ.get("GATEWAY_SERVER", "127.0.0.1:5347").rsplit(":", 1)
    gateway = Gateway(
        os.environ.get("GATEWAY_DOMAIN", "gateway.capulet.lit"), os.environ.get("GATEWAY_SECRET", "secret"), address, int(port), user
    )
    stopping = asyncio.Event()

    def stop():
        stopping.set()
        gateway.disconnect()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    gateway.connect()
    try:
        await gateway.use_permissions()
        await gateway.disconnected
        if not stopping.is_set():
            raise ConnectionError("the server closed the connection")
    except (IqError, IqTimeout) as error:
        failure = reason(error.condition, error.text)
    except (OSError, asyncio.TimeoutError) as error:
        failure = str(error) or "no answer from the server"
    else:
        return 0
    print("failed:", failure, file=sys.stderr)
    await gateway.disconnect()
    return 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main(*sys.argv[1:])))
