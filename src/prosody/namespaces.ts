/** Since version 0.4 of XEP-0356. */
export const xmlns_privilege = "urn:xmpp:privilege:2";
/** Up to version 0.3 of XEP-0356, which has neither iqs nor roster pushes. */
export const xmlns_privilege_legacy = "urn:xmpp:privilege:1";
/** XEP-0297 (Stanza Forwarding). */
export const xmlns_forward = "urn:xmpp:forward:0";
export const xmlns_client = "jabber:client";
export const xmlns_roster = "jabber:iq:roster";
