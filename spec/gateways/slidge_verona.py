"""A small network for slidge: Verona, with two contacts and one group for each user.

The specs play the network. What they write to the standard input, a JSON object on each line, happens there:

    {"user": BARE JID, "chat": NAME OF A CONTACT OR OF THE GROUP, "act": …, "id": …}

with the act "text" (and "text"), "react" (and "emoji") or "displayed"; with "self" true it is the user who does it,
in an app of the network. What slidge hands to the network is printed, as lines that begin with "verona:".
"""

import json
import os
import signal
import sys
from collections.abc import AsyncIterator

from slixmpp import JID
from slixmpp.exceptions import XMPPError
from slidge import BaseGateway, BaseSession
from slidge.command import FormField
from slidge.contact import LegacyContact, LegacyRoster
from slidge.group import LegacyBookmarks, LegacyMUC, LegacyParticipant, MucType
from slidge.util.types import XMPPMessage

CONTACTS = {"friar": "Friar Laurence", "tybalt": "Tybalt"}
GROUP = "ball"

sessions: dict[str, "Session"] = {}


def tell(*words: object) -> None:
    print("verona:", *words, flush=True)


class Chat:
    """What contacts and the group have in common: each act of the user is told."""

    async def on_message(self, message: XMPPMessage) -> str:
        tell(self.session.user_jid.bare, self.legacy_id, "text", message.body)
        return f"sent-{message.body}"

    async def on_react(self, legacy_msg_id: str, emojis: list[str], thread: str | None) -> None:
        tell(self.session.user_jid.bare, self.legacy_id, "react", legacy_msg_id, *emojis)

    async def on_displayed(self, legacy_msg_id: str, thread: str | None) -> None:
        tell(self.session.user_jid.bare, self.legacy_id, "displayed", legacy_msg_id)


class Contact(Chat, LegacyContact):
    async def update_info(self) -> None:
        if self.legacy_id not in CONTACTS:
            raise XMPPError("item-not-found")
        self.name = CONTACTS[self.legacy_id]
        self.is_friend = True
        self.online()


class Roster(LegacyRoster[Contact]):
    async def fill(self) -> AsyncIterator[Contact]:
        for name in CONTACTS:
            contact = await self.by_legacy_id(name)
            # slidge 0.4.0 to 0.4.2 forget to do it: they take each gateway for one under test, and read no roster.
            await contact.add_to_roster()
            yield contact


class Participant(LegacyParticipant[Contact]):
    pass


class Group(Chat, LegacyMUC[Participant]):
    type = MucType.GROUP

    async def update_info(self) -> None:
        self.name = "The Ball"

    async def fill_participants(self) -> AsyncIterator[Participant]:
        for name in CONTACTS:
            yield await self.get_participant_by_legacy_id(name)


class Bookmarks(LegacyBookmarks[Group]):
    async def fill(self) -> None:
        await (await self.by_legacy_id(GROUP)).add_to_bookmarks()

    async def fetch_space_metadata(self, legacy_id: str) -> None:
        raise NotImplementedError


class Session(BaseSession[Contact]):
    async def login(self) -> str:
        sessions[self.user_jid.bare] = self
        tell(self.user_jid.bare, "login")
        return "In Verona"

    async def logout(self) -> None:
        sessions.pop(self.user_jid.bare, None)
        tell(self.user_jid.bare, "logout")

    async def happen(self, chat: str, act: str, id: str, text: str = "", emoji: str = "", by_user: bool = False) -> None:
        more = {}
        if chat == GROUP:
            group = await self.bookmarks.by_legacy_id(chat)
            if by_user:
                actor = await group.get_user_participant()
            else:
                actor = await group.get_participant_by_legacy_id("friar")
        else:
            actor = await self.contacts.by_legacy_id(chat)
            more["carbon"] = by_user
        if act == "text":
            actor.send_text(text, id, **more)
        elif act == "react":
            actor.react(id, [emoji], **more)
        elif act == "displayed":
            actor.displayed(id, **more)


class Gateway(BaseGateway[Session]):
    COMPONENT_NAME = "Verona"
    COMPONENT_TYPE = "verona"
    REGISTRATION_FIELDS = [FormField("username", label="User name", required=True)]
    GROUPS = True

    def __init__(self) -> None:
        super().__init__()
        # slidge raises an exception wherever the signal finds it, which gets lost in what handles exceptions there.
        self.loop.add_signal_handler(signal.SIGTERM, self.loop.stop)
        self.unread = b""
        self.loop.add_reader(sys.stdin, self.read_acts)

    async def validate(self, user_jid: JID, registration_form: dict[str, str | None]) -> None:
        tell(user_jid.bare, "registers", registration_form["username"])

    def read_acts(self) -> None:
        data = os.read(sys.stdin.fileno(), 65536)
        if not data:
            os._exit(1)  # the specs have been interrupted
        *lines, self.unread = (self.unread + data).split(b"\n")
        for line in lines:
            act = json.loads(line)
            session = sessions[act.pop("user")]
            by_user = act.pop("self", False)
            session.create_task(session.happen(by_user=by_user, **act))
