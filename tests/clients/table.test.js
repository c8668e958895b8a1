/**
 * What every verb comes to for everybody: each push, in each form that it has, by each actor, and exactly what that is
 * answered; over each transport, in each log.
 *
 * A row has a letter for each actor of `ACTORS`, in their order: three who are outside, six who read, two who speak,
 * two who moderate, two who own, and those in the lobby and in their own topic.
 *
 *     + ok    - it is not in the room    u unauthorized    b banned    m muted    n not_yours    r read_only
 *     e invalid, as there is no such event    l too_large, the whole payload    ! what stands at the end of the row
 *     # phx_error    o room_removed    ~ no answer, and others hear it    . no answer, and nobody does
 */

import "./support/polling.js";

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join as within } from "node:path";
import { test } from "node:test";

import { V1, VERSIONS } from "./support/client.js";
import { newFolder } from "./support/folder.js";
import { fieldsRefused, limits, logs, pushes, reasons, textOf } from "./support/protocol.js";
import { LOGS, started, startedWithEngine } from "./support/server.js";
import { ACTORS, GIVEN, OUTCOMES, World } from "./support/table.js";

const {
  OWN, OWN_OLDER, OWN_DELETED, OWN_GROWING, OTHERS, OTHERS_DELETED, OTHERS_GROWING, OTHERS_PINNED, OTHERS_FULL,
  BEYOND_PINS, NEVER_GIVEN, ONESELF, STRANGER, MEMBER, MODERATOR, OWNER, MUTED, BANNED, PRESENT_MODERATOR,
  ITS_TOKEN, OTHERS_TOKEN, INVITE,
} = GIVEN;

const because = (reason) => ({ reason });
const invalid = (field) => ({ reason: "invalid", field });
const tooLarge = (field, maxBytes) => ({ reason: "too_large", field, max_bytes: maxBytes });
const tooMany = (limit, max) => ({ reason: "too_many", limit, max });
const longer = (bytes) => "x".repeat(bytes + 1);
const rateLimited = (limit) => ({ reason: "rate_limited", limit });
const times = (count, push) => Array.from({ length: count }, () => push);
const inRoom = (some) => [["room:USER", "phx_join"], ...some.map((push) => ["room:USER", ...push])];
const decided = (settings) => ({ decided: [["room_set", settings]] });

const [NO_LINKS, NO_TIME] = [decided({ links: false }), decided({ edit_s: 0 })];
const ANOTHER_OWNER = { decided: [["room_member", { user: "zoe", role: "owner" }]] };

const UP = "\u{1f44d}";
const MANY = Array.from({ length: 51 }, (_, n) => `user-${n}`);

/** By verb: the payload, who is answered what, what `!` stands for, and what else is so in that row. */
const TABLE = {
  phx_join: [
    [{},                                            "ubu ++++++ ++ ++ ++ ++"],
    [{ limit: 0, presence: false, meta: { a: 1 } }, "ubu ++++++ ++ ++ ++ ++"],
    [{ since: { epoch: "x", offset: 1 } },          "ubu ++++++ ++ ++ ++ ++"],
    [{ invite: INVITE },                            "ub+ ++++++ ++ ++ ++ ++"],
    [{ invite: "inv_x" },                           "ubu ++++++ ++ ++ ++ ++"],
    [{ limit: 101 },                                "u!! !!!!!! !! !! !! !!", invalid("limit")],
    [{ presence: 1 },                               "u!! !!!!!! !! !! !! !!", invalid("presence")],
    [{ since: {} },                                 "u!! !!!!!! !! !! !! !!", invalid("since")],
    [{ meta: 1 },                                   "u!! !!!!!! !! !! !! !!", invalid("meta")],
    [{ meta: { a: longer(1_024) } },                "u!! !!!!!! !! !! !! !!", tooLarge("meta", 1_024)],
    [{ invite: 1 },                                 "u!! !!!!!! !! !! !! !!", invalid("invite")],
    [{ invite: longer(1_024) },                     "u!! !!!!!! !! !! !! !!", tooLarge("invite", 1_024)],
  ],

  phx_leave: [[{},                                  "+++ ++++++ ++ ++ ++ ++"]],

  new_msg: [
    [{ body: "hi" },                                "--- uuuumm ++ ++ ++ r+"],
    [{ body: "hi", key: "k" },                      "--- uuuumm ++ ++ ++ r+"],
    [{ body: "hi", reply_to: OTHERS },              "--- uuuumm ++ ++ ++ r+"],
    [{ body: "hi", mentions: ["zoe"] },             "--- uuuumm ++ ++ ++ r+"],
    [{ body: "hi", mentions: ["@room"] },           "--- uuuumm uu ++ ++ r+"],
    [{ body: "hi", data: { a: [1.5] } },            "--- uuuumm ++ ++ ++ r+"],
    [{ data: {} },                                  "--- uuuumm ++ ++ ++ r+"],
    [{ stream: true },                              "--- uuuumm ++ ++ ++ r+"],
    [{ body: "https://x" },                         "--- uuuumm ++ ++ ++ r+"],
    [{ body: "https://x" },                         "--- uuuumm !! ++ ++ r+", because("rejected"), NO_LINKS],
    [{ body: "a swordfish" },                       "--- uuuumm !! ++ ++ r+", because("rejected")],
    [{ body: "two" },                               "--- uuuumm !! ++ ++ r+", because("slow_mode"),
      { ...decided({ slow_s: 600 }), before: ["new_msg", { body: "one" }] }],
    [{},                                            "--- uu!!!! !! !! !! r+", invalid("body")],
    [{ body: "" },                                  "--- uu!!!! !! !! !! r+", invalid("body")],
    [{ body: 1 },                                   "--- uu!!!! !! !! !! r+", invalid("body")],
    [{ body: longer(16_384) },                      "--- uu!!!! !! !! !! rl", tooLarge("body", 16_384)],
    [{ body: "hi", key: "" },                       "--- uu!!!! !! !! !! r+", invalid("key")],
    [{ body: "hi", key: 1 },                        "--- uu!!!! !! !! !! r+", invalid("key")],
    [{ body: "hi", key: longer(64) },               "--- uu!!!! !! !! !! r+", tooLarge("key", 64)],
    [{ body: "hi", reply_to: "1" },                 "--- uu!!!! !! !! !! r+", invalid("reply_to")],
    [{ body: "hi", reply_to: NEVER_GIVEN },         "--- uuuumm !! !! !! r+", invalid("reply_to")],
    [{ body: "hi", reply_to: 0 },                   "--- uuuumm !! !! !! r+", invalid("reply_to")],
    [{ body: "hi", reply_to: OTHERS_DELETED },      "--- uuuumm ++ ++ ++ r+"],
    [{ body: "hi", mentions: [] },                  "--- uu!!!! !! !! !! r+", invalid("mentions")],
    [{ body: "hi", mentions: ["zoe", ""] },         "--- uu!!!! !! !! !! r+", invalid("mentions")],
    [{ body: "hi", mentions: MANY },                "--- uu!!!! !! !! !! r+", tooMany("limits.mentions", 50)],
    [{ body: "hi", data: [] },                      "--- uu!!!! !! !! !! r+", invalid("data")],
    [{ body: "hi", data: { a: longer(4_096) } },    "--- uu!!!! !! !! !! r+", tooLarge("data", 4_096)],
    [{ body: "hi", stream: 1 },                     "--- uu!!!! !! !! !! r+", invalid("stream")],
    [{ body: "\ud83d" },                            "--- uu!!!! !! !! !! r!", invalid("payload")],
  ],

  msg_edit: [
    [{ offset: OWN, body: "uno" },                  "--- uuuumm ++ ++ ++ re"],
    [{ offset: OWN, body: "a message" },            "--- uuuumm ++ ++ ++ re"],
    [{ offset: OWN, mentions: ["zoe"] },            "--- uuuumm ++ ++ ++ re"],
    [{ offset: OWN, mentions: null },               "--- uuuumm ++ ++ ++ re"],
    [{ offset: OWN, data: { a: 1 } },               "--- uuuumm ++ ++ ++ re"],
    [{ offset: OWN, data: null },                   "--- uuuumm ++ ++ ++ re"],
    [{ offset: OWN, body: "", data: {} },           "--- uuuumm ++ ++ ++ re"],
    [{ offset: OWN_GROWING, body: "uno" },          "--- uuuumm ++ ++ ++ re"],
    [{ offset: OWN, mentions: ["@room"] },          "--- uuuumm uu ++ ++ re"],
    [{ offset: OTHERS, body: "uno" },               "--- uuuumm nn nn nn re"],
    [{ offset: OWN_DELETED, body: "uno" },          "--- uuuumm !! !! !! re", because("gone")],
    [{ offset: OTHERS_DELETED, body: "uno" },       "--- uuuumm !! !! !! re", because("gone")],
    [{ offset: OWN_OLDER, body: "uno" },            "--- uuuumm !! !! !! re", because("too_late"), NO_TIME],
    [{ offset: OWN, body: "http://x" },             "--- uuuumm !! ++ ++ re", because("rejected"), NO_LINKS],
    [{ offset: OWN, body: "a swordfish" },          "--- uuuumm !! ++ ++ re", because("rejected")],
    [{ offset: NEVER_GIVEN, body: "uno" },          "--- uuuumm !! !! !! re", invalid("offset")],
    [{ offset: 0, body: "uno" },                    "--- uu!!!! !! !! !! re", invalid("offset")],
    [{ body: "uno" },                               "--- uu!!!! !! !! !! re", invalid("offset")],
    [{ offset: OWN },                               "--- uu!!!! !! !! !! re", invalid("body")],
    [{ offset: OWN, body: 1 },                      "--- uu!!!! !! !! !! re", invalid("body")],
    [{ offset: OWN, body: "" },                     "--- uuuumm !! !! !! re", invalid("body")],
    [{ offset: OWN, body: longer(16_384) },         "--- uu!!!! !! !! !! re", tooLarge("body", 16_384)],
    [{ offset: OWN, mentions: [] },                 "--- uu!!!! !! !! !! re", invalid("mentions")],
    [{ offset: OWN, mentions: [1] },                "--- uu!!!! !! !! !! re", invalid("mentions")],
    [{ offset: OWN, mentions: MANY },               "--- uu!!!! !! !! !! re", tooMany("limits.mentions", 50)],
    [{ offset: OWN, data: [] },                     "--- uu!!!! !! !! !! re", invalid("data")],
    [{ offset: OWN, data: { a: longer(4_096) } },   "--- uu!!!! !! !! !! re", tooLarge("data", 4_096)],
  ],

  msg_delete: [
    [{ offset: OWN },                               "--- ++++++ ++ ++ ++ re"],
    [{ offset: OWN_DELETED },                       "--- ++++++ ++ ++ ++ re"],
    [{ offset: OWN_GROWING },                       "--- ++++++ ++ ++ ++ re"],
    [{ offset: OWN_OLDER },                         "--- ++++++ ++ ++ ++ re", null, NO_TIME],
    [{ offset: OTHERS },                            "--- nnnnnn nn ++ ++ re"],
    [{ offset: OTHERS_DELETED },                    "--- nnnnnn nn ++ ++ re"],
    [{ offset: NEVER_GIVEN },                       "--- !!!!!! !! !! !! re", invalid("offset")],
    [{},                                            "--- !!!!!! !! !! !! re", invalid("offset")],
    [{ offset: "1" },                               "--- !!!!!! !! !! !! re", invalid("offset")],
  ],

  msg_pin: [
    [{ offset: OTHERS },                            "--- uuuumm uu ++ ++ re"],
    [{ offset: OTHERS, on: true },                  "--- uuuumm uu ++ ++ re"],
    [{ offset: OTHERS, on: false },                 "--- uuuumm uu ++ ++ re"],
    [{ offset: OTHERS_PINNED },                     "--- uuuumm uu ++ ++ re"],
    [{ offset: OTHERS_PINNED, on: false },          "--- uuuumm uu ++ ++ re"],
    [{ offset: OWN },                               "--- uuuumm uu ++ ++ re"],
    [{ offset: OTHERS_DELETED },                    "--- uuuumm uu !! !! re", because("gone")],
    [{ offset: OTHERS_DELETED, on: false },         "--- uuuumm uu !! !! re", because("gone")],
    [{ offset: BEYOND_PINS },                       "--- uuuumm uu !! !! re", tooMany("limits.pins", 2)],
    [{ offset: NEVER_GIVEN },                       "--- uuuumm !! !! !! re", invalid("offset")],
    [{ on: true },                                  "--- uu!!!! !! !! !! re", invalid("offset")],
    [{ offset: OTHERS, on: 1 },                     "--- uu!!!! !! !! !! re", invalid("on")],
  ],

  msg_react: [
    [{ offset: OTHERS, emoji: UP },                 "--- uuuumm ++ ++ ++ re"],
    [{ offset: OTHERS, emoji: UP, on: true },       "--- uuuumm ++ ++ ++ re"],
    [{ offset: OTHERS, emoji: UP, on: false },      "--- uuuumm ++ ++ ++ re"],
    [{ offset: OWN, emoji: UP },                    "--- uuuumm ++ ++ ++ re"],
    [{ offset: OTHERS, emoji: UP },                 "--- ++++mm ++ ++ ++ re", null, decided({ react: "all" })],
    [{ offset: OTHERS_DELETED, emoji: UP },         "--- uuuumm !! !! !! re", because("gone")],
    [{ offset: OTHERS_FULL, emoji: UP },            "--- uuuumm !! !! !! re", tooMany("limits.emoji_per_message", 2)],
    [{ offset: NEVER_GIVEN, emoji: UP },            "--- uuuumm !! !! !! re", invalid("offset")],
    [{ emoji: UP },                                 "--- !!!!!! !! !! !! re", invalid("offset")],
    [{ offset: OTHERS },                            "--- !!!!!! !! !! !! re", invalid("emoji")],
    [{ offset: OTHERS, emoji: longer(64) },         "--- !!!!!! !! !! !! re", invalid("emoji")],
    [{ offset: OTHERS, emoji: "a\tb" },             "--- !!!!!! !! !! !! re", invalid("emoji")],
    [{ offset: OTHERS, emoji: UP, on: 1 },          "--- !!!!!! !! !! !! re", invalid("on")],
  ],

  msg_append: [
    [{ offset: OWN_GROWING, text: "!" },            "--- uuuumm ++ ++ ++ re"],
    [{ offset: OWN_GROWING, text: "!", done: true }, "--- uuuumm ++ ++ ++ re"],
    [{ offset: OWN_GROWING, done: true },           "--- uuuumm ++ ++ ++ re"],
    [{ offset: OTHERS_GROWING, text: "!" },         "--- uuuumm nn nn nn re"],
    [{ offset: OTHERS, text: "!" },                 "--- uuuumm nn nn nn re"],
    [{ offset: OWN, text: "!" },                    "--- uuuumm !! !! !! re", because("too_late")],
    [{ offset: OWN, done: true },                   "--- uuuumm !! !! !! re", because("too_late")],
    [{ offset: OWN_DELETED, text: "!" },            "--- uuuumm !! !! !! re", because("gone")],
    [{ offset: OWN_GROWING, text: " swordfish" },   "--- uuuumm !! ++ ++ re", because("rejected")],
    [{ offset: OWN_GROWING, text: " http://x" },    "--- uuuumm !! ++ ++ re", because("rejected"), NO_LINKS],
    [{ offset: OWN_GROWING, text: longer(16_380) }, "--- uuuumm !! !! !! re", tooLarge("text", 16_384)],
    [{ offset: OWN_GROWING, text: longer(16_384) }, "--- uu!!!! !! !! !! re", tooLarge("text", 16_384)],
    [{ offset: NEVER_GIVEN, text: "!" },            "--- uuuumm !! !! !! re", invalid("offset")],
    [{ text: "!" },                                 "--- uu!!!! !! !! !! re", invalid("offset")],
    [{ offset: OWN_GROWING },                       "--- uu!!!! !! !! !! re", invalid("text")],
    [{ offset: OWN_GROWING, text: "" },             "--- uu!!!! !! !! !! re", invalid("text")],
    [{ offset: OWN_GROWING, text: "!", done: 1 },   "--- uu!!!! !! !! !! re", invalid("done")],
  ],

  history: [
    [{},                                            "--- ++++++ ++ ++ ++ re"],
    [{ limit: 0 },                                  "--- ++++++ ++ ++ ++ re"],
    [{ before: OTHERS },                            "--- ++++++ ++ ++ ++ re"],
    [{ after: OTHERS },                             "--- ++++++ ++ ++ ++ re"],
    [{ around: OTHERS },                            "--- ++++++ ++ ++ ++ re"],
    [{ around: OTHERS_DELETED },                    "--- ++++++ ++ ++ ++ re"],
    [{ thread: OTHERS },                            "--- ++++++ ++ ++ ++ re"],
    [{ thread: OTHERS, before: OTHERS },            "--- ++++++ ++ ++ ++ re"],
    [{ pinned: true },                              "--- ++++++ ++ ++ ++ re"],
    [{ pinned: true, after: OTHERS_PINNED },        "--- ++++++ ++ ++ ++ re"],
    [{ limit: 101 },                                "--- !!!!!! !! !! !! re", invalid("limit")],
    [{ before: "1" },                               "--- !!!!!! !! !! !! re", invalid("before")],
    [{ after: -1 },                                 "--- !!!!!! !! !! !! re", invalid("after")],
    [{ around: 0 },                                 "--- !!!!!! !! !! !! re", invalid("around")],
    [{ around: "1" },                               "--- !!!!!! !! !! !! re", invalid("around")],
    [{ around: NEVER_GIVEN },                       "--- !!!!!! !! !! !! re", invalid("around")],
    [{ thread: NEVER_GIVEN },                       "--- !!!!!! !! !! !! re", invalid("thread")],
    [{ pinned: 1 },                                 "--- !!!!!! !! !! !! re", invalid("pinned")],
    [{ before: OTHERS, after: OTHERS },             "--- !!!!!! !! !! !! re", invalid("after")],
    [{ before: OTHERS, around: OTHERS },            "--- !!!!!! !! !! !! re", invalid("around")],
    [{ thread: OTHERS, pinned: true },              "--- !!!!!! !! !! !! re", invalid("pinned")],
    [{ thread: OTHERS, around: OTHERS },            "--- !!!!!! !! !! !! re", invalid("around")],
  ],

  msg_search: [
    [{ query: "message" },                          "--- ++++++ ++ ++ ++ re"],
    [{ query: "me", from: "host", before: OTHERS, limit: 1 }, "--- ++++++ ++ ++ ++ re"],
    [{},                                            "--- !!!!!! !! !! !! re", invalid("query")],
    [{ query: "m" },                                "--- !!!!!! !! !! !! re", invalid("query")],
    [{ query: longer(128) },                        "--- !!!!!! !! !! !! re", invalid("query")],
    [{ query: "me", from: 1 },                      "--- !!!!!! !! !! !! re", invalid("from")],
    [{ query: "me", before: "1" },                  "--- !!!!!! !! !! !! re", invalid("before")],
    [{ query: "me", limit: 51 },                    "--- !!!!!! !! !! !! re", invalid("limit")],
  ],

  typing: [
    [{},                                            "--- uu.... ~~ ~~ ~~ r~"],
    [{ thread: OTHERS },                            "--- uu.... ~~ ~~ ~~ r~"],
    [{ thread: 0 },                                 "--- uu!!!! !! !! !! r!", invalid("thread")],
  ],

  echo: [
    [{ a: [1, null] },                              "--- ++++++ ++ ++ ++ ++"],
    [[1, null],                                     "--- ++++++ ++ ++ ++ ++"],
  ],

  access_token: [
    [{ token: ITS_TOKEN },                          "--- ++++++ ++ ++ ++ ++"],
    [{ token: "x" },                                "--- uuuuuu uu uu uu uu"],
    [{ token: OTHERS_TOKEN },                       "--- !!!!!! !! !! !! !!", because("user_mismatch")],
    [{ token: longer(8_192) },                      "--- !!!!!! !! !! !! !!", tooLarge("token", 8_192)],
    [{},                                            "--- !!!!!! !! !! !! !!", invalid("token")],
  ],

  room_set: [
    // Only where nothing was decided there is neither a title nor an owner.
    [{ title: "Tea" },                              "--- uuuumm +u ++ ++ re"],
    [{ title: "Tea" },                              "--- uuuumm uu ++ ++ re", null, decided({ title: "Coffee" })],
    [{ title: "Tea" },                              "--- uuuumm uu ++ ++ re", null, ANOTHER_OWNER],
    [{ title: "Tea", topic: "Green" },              "--- uuuumm uu ++ ++ re"],
    [{ topic: "Green" },                            "--- uuuumm uu ++ ++ re"],
    [{ topic: null },                               "--- uuuumm uu ++ ++ re"],
    [{ join: "all" },                               "--- uuuumm uu uu ++ re"],
    [{ join: "members" },                           "--- uuuumm uu uu ++ re"],
    [{ speak: "all" },                              "--- uuuumm uu uu ++ re"],
    [{ speak: "members" },                          "--- uuuumm uu uu ++ re"],
    [{ speak: "moderators" },                       "--- uuuumm uu uu ++ re"],
    [{ react: "all" },                              "--- uuuumm uu ++ ++ re"],
    [{ react: "speakers" },                         "--- uuuumm uu ++ ++ re"],
    [{ slow_s: 5 },                                 "--- uuuumm uu ++ ++ re"],
    [{ slow_s: 0 },                                 "--- uuuumm uu ++ ++ re"],
    [{ edit_s: 60 },                                "--- uuuumm uu ++ ++ re"],
    [{ edit_s: -1 },                                "--- uuuumm uu ++ ++ re"],
    [{ keep_s: 60 },                                "--- uuuumm uu uu ++ re"],
    [{ keep_s: null },                              "--- uuuumm uu uu ++ re"],
    [{ keep_messages: 60 },                         "--- uuuumm uu uu ++ re"],
    [{ keep_bytes: 60_000 },                        "--- uuuumm uu uu ++ re"],
    [{ keep_messages: null, keep_bytes: null },     "--- uuuumm uu uu ++ re"],
    [{ receipts: true },                            "--- uuuumm uu ++ ++ re"],
    [{ receipts: false },                           "--- uuuumm uu ++ ++ re"],
    [{ links: false },                              "--- uuuumm uu ++ ++ re"],
    [{ links: true },                               "--- uuuumm uu ++ ++ re"],
    [{ invite: "members" },                         "--- uuuumm uu ++ ++ re"],
    [{ invite: "moderators" },                      "--- uuuumm uu ++ ++ re"],
    [{ revoke_invites: true },                      "--- uuuumm uu ++ ++ re"],
    [{ data: { a: 1 } },                            "--- uuuumm uu ++ ++ re"],
    [{ data: null },                                "--- uuuumm uu ++ ++ re"],
    [{},                                            "--- uu!!!! !! !! !! re", invalid("title")],
    [[],                                            "--- uu!!!! !! !! !! re", invalid("title")],
    [{ invites: 5 },                                "--- uu!!!! !! !! !! re", invalid("title")],
    [{ title: "" },                                 "--- uu!!!! !! !! !! re", invalid("title")],
    [{ title: longer(128) },                        "--- uu!!!! !! !! !! re", invalid("title")],
    [{ title: "a\nb" },                             "--- uu!!!! !! !! !! re", invalid("title")],
    [{ topic: 5 },                                  "--- uu!!!! !! !! !! re", invalid("topic")],
    [{ topic: longer(1_024) },                      "--- uu!!!! !! !! !! re", tooLarge("topic", 1_024)],
    [{ join: "nobody" },                            "--- uu!!!! !! !! !! re", invalid("join")],
    [{ speak: "owners" },                           "--- uu!!!! !! !! !! re", invalid("speak")],
    [{ react: "nobody" },                           "--- uu!!!! !! !! !! re", invalid("react")],
    [{ slow_s: 21_601 },                            "--- uu!!!! !! !! !! re", invalid("slow_s")],
    [{ slow_s: 1.5 },                               "--- uu!!!! !! !! !! re", invalid("slow_s")],
    [{ edit_s: -2 },                                "--- uu!!!! !! !! !! re", invalid("edit_s")],
    [{ edit_s: 1e10 },                              "--- uu!!!! !! !! !! re", invalid("edit_s")],
    [{ keep_s: 0 },                                 "--- uu!!!! !! !! !! re", invalid("keep_s")],
    [{ keep_s: -1 },                                "--- uu!!!! !! !! !! re", invalid("keep_s")],
    [{ keep_s: 1.5 },                               "--- uu!!!! !! !! !! re", invalid("keep_s")],
    [{ keep_s: "60" },                              "--- uu!!!! !! !! !! re", invalid("keep_s")],
    [{ keep_s: 3_153_600_001 },                     "--- uu!!!! !! !! !! re", invalid("keep_s")],
    [{ keep_messages: 0 },                          "--- uu!!!! !! !! !! re", invalid("keep_messages")],
    [{ keep_messages: 549_755_813_889 },            "--- uu!!!! !! !! !! re", invalid("keep_messages")],
    [{ keep_bytes: "60" },                          "--- uu!!!! !! !! !! re", invalid("keep_bytes")],
    [{ keep_bytes: 1_099_511_627_777 },             "--- uu!!!! !! !! !! re", invalid("keep_bytes")],
    [{ receipts: 1 },                               "--- uu!!!! !! !! !! re", invalid("receipts")],
    [{ links: 1 },                                  "--- uu!!!! !! !! !! re", invalid("links")],
    [{ invite: "all" },                             "--- uu!!!! !! !! !! re", invalid("invite")],
    [{ revoke_invites: 1 },                         "--- uu!!!! !! !! !! re", invalid("revoke_invites")],
    [{ data: [] },                                  "--- uu!!!! !! !! !! re", invalid("data")],
    [{ data: { a: longer(4_096) } },                "--- uu!!!! !! !! !! re", tooLarge("data", 4_096)],
  ],

  room_member: [
    [{ user: ONESELF, role: "member" },             "--- ++++++ ++ ++ !+ re", because("last_owner")],
    [{ user: ONESELF, role: null },                 "--- +o+o++ +o o+ !+ re", because("last_owner")],
    [{ user: ONESELF, role: null },                 "--- +o+o++ +o o+ o+ re", null, ANOTHER_OWNER],
    [{ user: ONESELF, role: "moderator" },          "--- u+uuu+ uu +u !+ re", because("last_owner")],
    [{ user: ONESELF, role: "owner" },              "--- uuuuuu uu uu ++ re"],
    [{ user: ONESELF, muted_s: 60 },                "--- uuuumm uu uu uu re"],
    [{ user: ONESELF, muted_s: 0 },                 "--- uuuumm uu uu ++ re"],
    [{ user: ONESELF, banned_s: 60 },               "--- uuuumm uu uu uu re"],
    [{ user: ONESELF, kick: true },                 "--- uuuumm uu uu uu re"],
    [{ user: ONESELF, purge_s: 60 },                "--- uuuumm ++ ++ ++ re"],

    [{ user: STRANGER, role: "member" },            "--- uuuuuu uu ++ ++ re"],
    [{ user: STRANGER, role: "moderator" },         "--- uuuuuu uu uu ++ re"],
    [{ user: STRANGER, role: "owner" },             "--- uuuuuu uu uu ++ re"],
    [{ user: STRANGER, muted_s: 60 },               "--- uuuumm uu ++ ++ re"],
    [{ user: STRANGER, muted_s: -1 },               "--- uuuumm uu ++ ++ re"],
    [{ user: STRANGER, muted_s: 0 },                "--- uuuumm uu ++ ++ re"],
    [{ user: STRANGER, banned_s: 60 },              "--- uuuumm uu ++ ++ re"],
    [{ user: STRANGER, banned_s: -1, reason: "x" }, "--- uuuumm uu ++ ++ re"],
    [{ user: STRANGER, banned_s: 0 },               "--- uuuumm uu ++ ++ re"],
    [{ user: STRANGER, kick: true },                "--- uuuumm uu ++ ++ re"],
    [{ user: STRANGER, purge_s: 60 },               "--- uuuumm uu ++ ++ re"],
    [{ user: STRANGER, role: "member", muted_s: 9 }, "--- uuuuuu uu ++ ++ re"],
    [{ user: MUTED, muted_s: 0 },                   "--- uuuumm uu ++ ++ re"],
    [{ user: BANNED, banned_s: 0 },                 "--- uuuumm uu ++ ++ re"],

    // What is so already is nobody's decision.
    [{ user: STRANGER, role: null },                "--- ++++++ ++ ++ ++ re"],
    [{ user: MEMBER, role: "member" },              "--- ++++++ ++ ++ ++ re"],
    [{ user: MODERATOR, role: "moderator" },        "--- ++++++ ++ ++ ++ re"],
    [{ user: OWNER, role: "owner" },                "--- ++++++ ++ ++ ++ re"],

    [{ user: MEMBER, role: null },                  "--- uuuuuu uu ++ ++ re"],
    [{ user: MEMBER, role: "moderator" },           "--- uuuuuu uu uu ++ re"],
    [{ user: MEMBER, role: "owner" },               "--- uuuuuu uu uu ++ re"],
    [{ user: MEMBER, muted_s: 60 },                 "--- uuuumm uu ++ ++ re"],
    [{ user: MEMBER, banned_s: 60 },                "--- uuuumm uu ++ ++ re"],
    [{ user: MEMBER, kick: true },                  "--- uuuumm uu ++ ++ re"],
    [{ user: MEMBER, purge_s: 60 },                 "--- uuuumm uu ++ ++ re"],
    [{ user: MEMBER, purge_s: 60, purge_before: 3 }, "--- uuuumm uu ++ ++ re"],

    [{ user: MODERATOR, role: null },               "--- uuuuuu uu uu ++ re"],
    [{ user: MODERATOR, role: "member" },           "--- uuuuuu uu uu ++ re"],
    [{ user: MODERATOR, role: "owner" },            "--- uuuuuu uu uu ++ re"],
    [{ user: MODERATOR, muted_s: 60 },              "--- uuuumm uu uu ++ re"],
    [{ user: MODERATOR, banned_s: 60 },             "--- uuuumm uu uu ++ re"],
    [{ user: MODERATOR, kick: true },               "--- uuuumm uu uu ++ re"],
    [{ user: MODERATOR, purge_s: 60 },              "--- uuuumm uu uu ++ re"],
    [{ user: PRESENT_MODERATOR, muted_s: 60 },      "--- uuuumm uu uu ++ re"],
    [{ user: PRESENT_MODERATOR, kick: true },       "--- uuuumm uu uu ++ re"],

    [{ user: OWNER, role: null },                   "--- uuuuuu uu uu uu re"],
    [{ user: OWNER, role: "member" },               "--- uuuuuu uu uu uu re"],
    [{ user: OWNER, role: "moderator" },            "--- uuuuuu uu uu uu re"],
    [{ user: OWNER, muted_s: 60 },                  "--- uuuumm uu uu uu re"],
    [{ user: OWNER, banned_s: 60 },                 "--- uuuumm uu uu uu re"],
    [{ user: OWNER, kick: true },                   "--- uuuumm uu uu uu re"],
    [{ user: OWNER, purge_s: 60 },                  "--- uuuumm uu uu uu re"],
    // Or nobody could lift what was decided of one who has become an owner since.
    [{ user: OWNER, muted_s: 0 },                   "--- uuuumm uu uu ++ re"],
    [{ user: OWNER, banned_s: 0 },                  "--- uuuumm uu uu ++ re"],
    [{ user: STRANGER, role: "owner", muted_s: 0 }, "--- uuuuuu uu uu ++ re"],
    [{ user: STRANGER, role: "owner", muted_s: 60 }, "--- !!!!!! !! !! !! re", invalid("muted_s")],
    [{ user: STRANGER, role: "owner", banned_s: -1 }, "--- !!!!!! !! !! !! re", invalid("banned_s")],
    [{ user: MUTED, role: "owner" },                "--- uuuuuu uu uu !! re", invalid("role")],

    [{ role: "member" },                            "--- !!!!!! !! !! !! re", invalid("user")],
    [{ user: STRANGER },                            "--- !!!!!! !! !! !! re", invalid("role")],
    [{ user: STRANGER, role: "king" },              "--- !!!!!! !! !! !! re", invalid("role")],
    [{ user: STRANGER, muted_s: -2 },               "--- !!!!!! !! !! !! re", invalid("muted_s")],
    [{ user: STRANGER, banned_s: "1" },             "--- !!!!!! !! !! !! re", invalid("banned_s")],
    [{ user: STRANGER, kick: 1 },                   "--- !!!!!! !! !! !! re", invalid("kick")],
    [{ user: STRANGER, purge_s: -1 },               "--- !!!!!! !! !! !! re", invalid("purge_s")],
    [{ user: STRANGER, purge_s: 60, purge_before: "1" }, "--- !!!!!! !! !! !! re", invalid("purge_before")],
    [{ user: STRANGER, kick: true, purge_before: 1 }, "--- !!!!!! !! !! !! re", invalid("purge_before")],
    [{ user: STRANGER, kick: true, reason: 1 },     "--- !!!!!! !! !! !! re", invalid("reason")],
    [{ user: STRANGER, kick: true, reason: longer(1_024) }, "--- !!!!!! !! !! !! re", tooLarge("reason", 1_024)],
  ],

  room_meta: [
    [{ meta: { status: "away" } },                  "--- ++++++ ++ ++ ++ re"],
    [{ meta: null },                                "--- ++++++ ++ ++ ++ re"],
    [{},                                            "--- !!!!!! !! !! !! re", invalid("meta")],
    [{ meta: "away" },                              "--- !!!!!! !! !! !! re", invalid("meta")],
    [{ meta: { a: longer(1_024) } },                "--- !!!!!! !! !! !! re", tooLarge("meta", 1_024)],
  ],

  room_members: [
    [{},                                            "--- ++++++ ++ ++ ++ re"],
    [{ after: "a", limit: 1 },                      "--- ++++++ ++ ++ ++ re"],
    [{ state: "muted" },                            "--- uuuuuu uu ++ ++ re"],
    [{ state: "banned" },                           "--- uuuuuu uu ++ ++ re"],
    [{ limit: 0 },                                  "--- !!!!!! !! !! !! re", invalid("limit")],
    [{ limit: 101 },                                "--- !!!!!! !! !! !! re", invalid("limit")],
    [{ after: 1 },                                  "--- !!!!!! !! !! !! re", invalid("after")],
    [{ state: "owners" },                           "--- !!!!!! !! !! !! re", invalid("state")],
  ],

  room_invite: [
    [{},                                            "--- uuuuuu uu ++ ++ re"],
    [{ for_s: 60 },                                 "--- uuuuuu uu ++ ++ re"],
    [{},                                            "--- uuu+mm u+ ++ ++ re", null, decided({ invite: "members" })],
    [{ for_s: 0 },                                  "--- !!!!!! !! !! !! re", invalid("for_s")],
    [{ for_s: 31_536_001 },                         "--- !!!!!! !! !! !! re", invalid("for_s")],
    [[],                                            "--- !!!!!! !! !! !! re", invalid("for_s")],
    [{ for_s: "1" },                                "--- !!!!!! !! !! !! re", invalid("for_s")],
  ],

  room_audit: [
    [{},                                            "--- uuuuuu uu ++ ++ re"],
    [{ before: 5, limit: 1, act: "msg_report" },    "--- uuuuuu uu ++ ++ re"],
    [{ before: -1 },                                "--- !!!!!! !! !! !! re", invalid("before")],
    [{ limit: 0 },                                  "--- !!!!!! !! !! !! re", invalid("limit")],
    [{ act: "sing" },                               "--- !!!!!! !! !! !! re", invalid("act")],
  ],

  msg_report: [
    [{ offset: OTHERS },                            "--- ++++++ ++ ++ ++ re"],
    [{ offset: OTHERS, text: "spam" },              "--- ++++++ ++ ++ ++ re"],
    [{ offset: OWN },                               "--- ++++++ ++ ++ ++ re"],
    [{ offset: OTHERS_DELETED },                    "--- !!!!!! !! !! !! re", because("gone")],
    [{ offset: NEVER_GIVEN },                       "--- !!!!!! !! !! !! re", invalid("offset")],
    [{ text: "spam" },                              "--- !!!!!! !! !! !! re", invalid("offset")],
    [{ offset: OTHERS, text: 1 },                   "--- !!!!!! !! !! !! re", invalid("text")],
    [{ offset: OTHERS, text: longer(1_024) },       "--- !!!!!! !! !! !! re", tooLarge("text", 1_024)],
  ],

  // What an application calls its own events.
  drawing: [
    [{ x: 1 },                                      "--- uuuumm ++ ++ ++ r+"],
    [{ user: ONESELF },                             "--- uuuumm ++ ++ ++ r+"],
    [{ user: STRANGER },                            "--- uu!!!! !! !! !! r!", because("user_mismatch")],
    [[],                                            "--- uu!!!! !! !! !! r!", invalid("payload")],
    [{ x: longer(16_384) },                         "--- uullll ll ll ll rl"],
  ],
  [longer(128)]: [[{},                              "--- uu!!!! !! !! !! r!", tooLarge("event", 128)]],

  // Names that are reserved.
  msg_nonsense: [[{},                               "--- uueeee ee ee ee re"]],
  room_epoch: [[{},                                 "--- uueeee ee ee ee re"]],
  chan_reply_1: [[{},                               "--- uueeee ee ee ee re"]],
  user_changed: [[{},                               "--- uueeee ee ee ee re"]],
  file_new: [[{},                                   "--- uueeee ee ee ee re"]],
  token_expired: [[{},                              "--- uueeee ee ee ee re"]],
  access_token_2: [[{},                             "--- uueeee ee ee ee re"]],
  phx_nonsense: [[{},                               "--- ###### ## ## ## ##"]],
  presence_diff: [[{},                              "--- ###### ## ## ## ##"]],
};

/** What a push of bytes is answered, with the letters of a row: only version 2 of the protocol has such ones. */
const BYTES = {
  phx_join: "+",
  phx_leave: "+",
  new_msg: invalid("body"),
  msg_edit: invalid("offset"),
  msg_delete: invalid("offset"),
  msg_pin: invalid("offset"),
  msg_react: invalid("offset"),
  msg_append: invalid("offset"),
  history: "+",
  msg_search: invalid("query"),
  typing: "~",
  echo: "+",
  access_token: invalid("token"),
  room_set: invalid("title"),
  room_member: invalid("user"),
  room_meta: invalid("meta"),
  room_members: invalid("after"),
  room_invite: invalid("for_s"),
  room_audit: invalid("before"),
  msg_report: invalid("offset"),
  drawing: "+",
};

/** What an answer has in it, if it is one; what ends in a question mark need not be there. */
const ANSWERS = {
  new_msg: "at id offset",
  msg_edit: "change",
  msg_delete: "change",
  msg_pin: "change",
  msg_react: "count",
  msg_append: "bytes",
  history: "messages more more_after? mine?",
  msg_search: "messages more before?",
  access_token: "expires_at user",
  room_set: "room title members topic? join? speak? react? slow_s? edit_s? keep_s? keep_messages? keep_bytes? " +
    "receipts? links? invite? invites? data?",
  room_member: "user role? muted_until? banned_until? purged? more? before?",
  room_members: "members more after?",
  room_meta: "",
  room_invite: "invite expires_at",
  room_audit: "acts more",
  msg_report: "",
};

/** The settings under which those of `LIMITS` are met that have none of their own. */
const TIGHT = {
  "limits.channels_per_conn": 2,
  "limits.publish_per_s": 1,
  "limits.publish_burst": 3,
  "limits.join_per_s": 1,
  "limits.join_burst": 3,
  "limits.search_per_s": 1,
  "limits.search_burst": 1,
  "limits.rooms_per_s": 1,
  "limits.rooms_burst": 1,
  "limits.members_per_room": 1,
  "limits.reactions_per_user": 1,
};

/** Nothing can become of messages. */
const NO_CHANGES = { "chat.changes": 0 };
const changed = (...push) => [inRoom([["new_msg", { body: "hi" }], push]), tooMany("chat.changes", 0), NO_CHANGES];

/**
 * Pushes of a user of its own each time, of which the last is one too many, and what that is answered; and the settings
 * of the server, if it is one of its own.
 */
const LIMITS = [
  [[["lobby", "phx_join"], ["user:USER", "phx_join"], ["room:USER", "phx_join"]], because("too many channels joined")],
  [[["room:USER", "phx_join"], ["room:USER more", "phx_join"]], rateLimited("limits.rooms_per_s")],
  [inRoom(times(3, ["phx_join"])), rateLimited("limits.join_per_s")],
  [inRoom(times(4, ["access_token", { token: "x" }])), rateLimited("limits.join_per_s")],
  [inRoom([...times(3, ["history"]), ["new_msg", { body: "hi" }]]), rateLimited("limits.publish_per_s")],
  [inRoom([["room_audit"], ["msg_search", { query: "hi" }]]), rateLimited("limits.search_per_s")],
  [inRoom([["msg_search", { query: "hi" }], ["msg_report", { offset: 1 }]]), rateLimited("limits.search_per_s")],
  [inRoom(["zoe", "kim"].map((user) => ["room_member", { user, muted_s: 9 }])), tooMany("limits.members_per_room", 1)],
  [inRoom([["new_msg", { body: "hi" }], ...["a", "b"].map((emoji) => ["msg_react", { offset: 1, emoji }])]),
    tooMany("limits.reactions_per_user", 1)],
  [inRoom([["new_msg", { body: "hi" }], ...["a", "b"].map((emoji) => ["msg_react", { offset: 1, emoji }])]),
    tooMany("limits.reactions_per_message", 1), { "limits.reactions_per_message": 1 }],
  changed("new_msg", { stream: true }),
  changed("msg_edit", { offset: 1, body: "ho" }),
  changed("msg_delete", { offset: 1 }),
  changed("msg_pin", { offset: 1 }),
  changed("msg_react", { offset: 1, emoji: UP }),
  changed("msg_append", { offset: 1, text: "!" }),
  changed("room_member", { user: "zoe", purge_s: 60 }),
];

/** Reasons and limits that neither has, mostly since it is no client's doing, and where they are. */
const ELSEWHERE = {
  busy: "tests/sim/stories/ways.rs",
  too_many_rooms: "tests/hostile/floods.rs",
  storage: "tests/disk/failing.rs",
  unconfirmed: "tests/disk/failing.rs",
  unavailable: "tests/sim/main.rs",
  // It takes many who hear.
  "limits.fanout_bytes_per_s": "src/rooms/tests.rs",
};

/** Those after which the actor, or the room, stands otherwise. */
const CHANGING = ["phx_join", "phx_leave", "phx_nonsense", "presence_diff", "typing", "msg_pin", "room_set"];

const ROWS = Object.entries(TABLE).flatMap(([verb, forms]) =>
  forms.map(([payload, letters, refusal, more = {}]) => {
    const isAlone = CHANGING.includes(verb) || payload.user === ONESELF || Object.keys(more).length > 0;
    return { verb, payload, letters: letters.replaceAll(" ", ""), refusal, isAlone, ...more };
  }),
);

/** Whether an answer has what it is said to have, and nothing else. */
function assertAnswer(verb, response) {
  const names = (ANSWERS[verb] ?? "").split(" ").filter((name) => name !== "");
  const needed = names.filter((name) => !name.endsWith("?"));
  const known = names.map((name) => name.replace("?", ""));
  assert.deepEqual(needed.filter((name) => !(name in response)), [], `${verb}: ${JSON.stringify(response)}`);
  assert.deepEqual(Object.keys(response).filter((name) => !known.includes(name)), [], verb);
}

test("no cell is missing, no verb, and no refusal", () => {
  for (const { verb, payload, letters } of ROWS) {
    assert.equal(letters.length, ACTORS.length, `${verb} ${JSON.stringify(payload)}`);
  }
  const events = textOf("src/link/topic.rs").matchAll(/const \w+: &str = "(\w+_\w+)";/g);
  const verbs = [...pushes(), ...[...events].map(([, event]) => event)];
  assert.ok(pushes().length >= 17 && verbs.length > pushes().length, `${verbs}`);
  assert.deepEqual(verbs.filter((verb) => !(verb in TABLE)), [], "verbs without a row");

  const refusals = [...ROWS.map(({ refusal }) => refusal), ...LIMITS.map(([, refusal]) => refusal)];
  const letters = ROWS.flatMap(({ letters }) => [...letters]).map((letter) => OUTCOMES[letter]);
  const met = [...refusals, ...letters].filter(Boolean);
  const known = new Set(met.flatMap(({ reason, limit }) => [reason, limit]));
  for (const [reason, path] of Object.entries(ELSEWHERE)) {
    assert.ok(textOf(path).includes(reason), path);
    known.add(reason);
  }
  const unmet = (reason, fields) =>
    fields.filter((field) => !met.some((refusal) => refusal.reason === reason && refusal.field === field));
  const { invalid, tooLarge } = fieldsRefused();
  assert.ok(invalid.length >= 40 && tooLarge.length >= 10, `${invalid} / ${tooLarge}`);
  assert.deepEqual(unmet("invalid", invalid), [], "fields that are not as they are to be, without a row");
  assert.deepEqual(unmet("too_large", tooLarge), [], "fields that are too long, without a row");
  assert.ok(limits().length >= 10, `${limits()}`);
  assert.deepEqual(limits().filter((limit) => !known.has(limit)), [], "limits without a row");
  assert.ok(reasons().length >= 20, `${reasons()}`);
  assert.deepEqual(reasons().filter((reason) => !known.has(reason)), [], "refusals without a row");
});

const TRANSPORTS = {
  "WebSocket V2": {},
  "WebSocket V1": V1,
  "long polling": { transport: VERSIONS.at(-1).LongPoll },
};

/** So that nothing is refused for being too much, and some things soon. */
function settings() {
  const phrases = within(newFolder(), "phrases.txt");
  writeFileSync(phrases, "swordfish\n");
  const free = ["limits.search_per_s", "limits.join_per_s", "limits.rooms_per_s", "limits.fanout_bytes_per_s"];
  return {
    ...Object.fromEntries(free.map((key) => [key, 0])),
    "limits.channels_per_conn": 10_000,
    "limits.emoji_per_message": 2,
    "limits.pins": 2,
    "chat.react_tick_ms": 1,
    "chat.blocked_file": phrases,
  };
}

/** By log of the server: how the table is tried with it. */
const TRIED = {
  MemoryLog: ["in memory"],
  StoreLog: ["in a store", "in a store that shows what it has kept"],
  EngineLog: ["with an engine"],
};

test("no log is missing", () => {
  assert.deepEqual(logs().sort(), Object.keys(TRIED).sort());
});

for (const log of Object.values(TRIED).flat()) {
  const starts = (t, settings) =>
    log in LOGS ? started(t, { ...LOGS[log], ...settings }) : startedWithEngine(t, settings);
  for (const [transport, options] of Object.entries(TRANSPORTS)) {
    test(`each push by each actor is answered as the table says, over ${transport}, ${log}`, async (t) => {
      const server = await starts(t, settings());
      const world = new World(t, server, transport, options);
      const wrong = await Promise.all(ACTORS.map(async (actor, column) => {
        const told = await world.tries(actor, ROWS);
        return ROWS.flatMap(({ verb, payload, letters }, index) => {
          const { letter, answer } = told[index];
          if (letter === "+" && verb in ANSWERS && !actor.topic) assertAnswer(verb, answer.response);
          if (letter === letters[column]) return [];
          return `${verb} ${JSON.stringify(payload).slice(0, 80)} by ${actor.name}: ${letter}, not ${letters[column]}`;
        });
      }));
      assert.equal(wrong.flat().length, 0, wrong.flat().join("\n"));
    });

    test(`what is too much is refused by the limit's name, over ${transport}, ${log}`, async (t) => {
      const worlds = new Map();
      for (const [some, refusal, settings = TIGHT] of LIMITS) {
        const world = worlds.get(settings) ?? new World(t, await starts(t, settings), transport, options);
        worlds.set(settings, world);
        assert.equal(await world.meets(some, refusal), "!", JSON.stringify([some.at(-1), refusal]));
      }
    });
  }
}

test("each push of bytes is answered as one that says nothing", async (t) => {
  assert.deepEqual(pushes().filter((verb) => !(verb in BYTES)), [], "verbs without an answer");
  const world = new World(t, await started(t, settings()), "bytes", {});
  const actor = ACTORS.find(({ token }) => token === "own");
  const payload = new TextEncoder().encode('{"offset":1}').buffer;
  const rows = Object.entries(BYTES).map(([verb, refusal]) => ({ verb, payload, refusal, isAlone: true }));
  const told = await world.tries(actor, rows);
  const letters = Object.fromEntries(rows.map(({ verb }, index) => [verb, told[index].letter]));
  const expected = rows.map(({ verb, refusal }) => [verb, typeof refusal === "string" ? refusal : "!"]);
  assert.deepEqual(letters, Object.fromEntries(expected));
});
