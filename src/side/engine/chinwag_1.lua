#!lua name=chinwag_1
-- What the engine does in one step: entries are appended to a room (`chinwag_1_append`), a room is
-- read (`chinwag_1_read`), it is noted what of a room is in an archive (`chinwag_1_archived`), or
-- when it is looked at whether something of it is too old (`chinwag_1_age`, `chinwag_1_due`), rooms
-- that are gone leave the list (`chinwag_1_forget`), a node says that it lives (`chinwag_1_beat`),
-- and commands that a user may not call are named (`chinwag_1_lacks`).
--
-- When it is loaded, all names get a hash of this text (`redis/library.rs`): nodes of several
-- versions share an engine, and each calls its own functions. What they keep and publish is read by
-- the others, so whoever changes that gives the layout a new number, here and in `redis/keys.rs`.
-- No record is read here: numbers are compared, places are given, and what was given is kept.

local HOUR_S = 3600
-- How many epochs before its own a room knows.
local TURNS = 16
-- So many keys make the hash of keys the older one: between so many and twice as many are known.
local KEYS_PER_HASH = 1000
-- Trimming and the counting of keys are for each so many messages.
local STRIDE = 32
-- A room in the list of its partition: `-`, or if it was founded `o`, or `p` if it is in no list;
-- the hour in which it was renewed last; its title, if it was founded.
local LISTED = '^([-op])(%d+) (.*)$'
local META = '^1 (%x+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%x+) (.*)$'

-- `redis.call`, which is not there yet when the library is loaded.
local call
local branch, asked

-- The time in milliseconds.
local function time()
  call = redis.call
  local now = call('TIME')
  return now[1] * 1000 + math.floor(now[2] / 1000), now[1]
end

-- The time in milliseconds, and on which history of the engine this is. That is asked once a second
-- at most, since its answer is long. Called before all else.
local function look()
  local now, second = time()
  if second ~= asked then
    branch = string.match(call('INFO', 'replication'), 'master_replid:(%x+)')
    asked = second
  end
  return now
end

-- The number of a stream's last entry, whether that is still there or not.
local function last_of(stream)
  if call('EXISTS', stream) == 0 then return 0 end
  local info = call('XINFO', 'STREAM', stream)
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then return tonumber(string.match(info[i + 1], '^%d+')) end
  end
end

-- A room as it stands; nothing, if another version has written it.
local function room_of(keys, fresh_epoch)
  local room = {
    stream = keys[2], keys = keys[3], older = keys[4], changed = keys[5], facts = keys[6],
    audit = keys[7], listed = keys[8], archived = keys[9], unarchived = keys[10], due = keys[11],
    meta = call('GET', keys[1]), turned = true,
  }
  if room.meta then
    local epoch, top, changes, rev, floor, audited, at, gone, gone_change, of, lineage =
      string.match(room.meta, META)
    if not epoch then return nil end
    room.epoch, room.lineage = epoch, lineage
    room.top, room.changes, room.rev = tonumber(top), tonumber(changes), tonumber(rev)
    room.floor, room.audited, room.at = tonumber(floor), tonumber(audited), tonumber(at)
    room.gone, room.gone_change = tonumber(gone), tonumber(gone_change)
    room.turned = of ~= branch
    if room.turned then
      -- What came after these may be lost. Numbers go on, so that none means two things.
      local turns = {epoch .. ':' .. table.concat({top, changes, rev, audited}, '/')}
      for turn in string.gmatch(lineage, '[^,]+') do
        if #turns < TURNS then turns[#turns + 1] = turn end
      end
      room.lineage, room.epoch = table.concat(turns, ','), fresh_epoch
    end
  else
    -- Nothing is known: no cursor fits from now on, but what is there stays.
    room.epoch, room.lineage, room.rev, room.at = fresh_epoch, '', 0, 0
    room.gone, room.gone_change = 0, 0
    room.top, room.audited, room.changes = last_of(room.stream), last_of(room.audit), 0
    for _, changed in ipairs(call('HVALS', room.changed)) do
      room.changes = math.max(room.changes, tonumber(string.match(changed, '^%d+')))
    end
    room.floor = room.changes
  end
  return room
end

-- Notes how a room is listed. Whoever hears the list is told, unless only the hour is another one.
local function list(room, kind, title)
  local was = call('HGET', room.listed, room.topic) or ''
  local kind_was, _, title_was = string.match(was, LISTED)
  local hour = math.floor(room.now / 1000 / HOUR_S)
  local is = kind .. string.format('%d', hour) .. ' ' .. title
  if is ~= was then call('HSET', room.listed, room.topic, is) end
  if kind ~= kind_was or title ~= title_was then
    call('SPUBLISH', room.list_channel, struct.pack('<I4c0', #room.topic, room.topic) .. is)
  end
end

-- What an entry does, by its kind. Given are the room, all arguments, the place of the first one
-- that is its own, its record, and whether it was judged by what has changed. Answers the place
-- behind its arguments and its receipt; and if it was done its kind for readers, its number, and
-- for a change the offset.
local acts = {}

function acts.m(room, args, i, record, stale)
  local key = args[i]
  -- Before all else: who says it again is answered as the first time, whatever has changed since.
  local known = key ~= '' and (call('HGET', room.keys, key) or call('HGET', room.older, key))
  -- It may have outlived all else of its room.
  if known and tonumber(string.match(known, '^%x+ (%d+)')) <= room.top then
    room.has_known = true
    return i + 1, 'm ' .. known
  end
  if stale then return i + 1, 'stale' end
  room.top = room.top + 1
  call('XADD', room.stream, room.top .. '-0', 'd', record, 't', room.now .. ' ' .. room.epoch)
  local receipt = room.epoch .. ' ' .. room.top .. ' ' .. room.now
  if key ~= '' then
    call('HSET', room.keys, key, receipt)
    room.has_new_keys = true
  end
  -- From now on it is listed.
  if room.top == 1 then room.is_renewed = true end
  return i + 1, 'm ' .. receipt, 'm', room.top, 0
end

function acts.c(room, args, i, record, stale)
  local offset, expected, fate, heard = args[i], args[i + 1], args[i + 2], args[i + 3]
  if stale then return i + 4, 'stale' end
  local known = call('HGET', room.changed, offset)
  -- It was let go of, maybe with a change before: nobody can say any more what it is.
  local is_forgotten = room.slack == 0 and not known and expected ~= '0'
  if tonumber(offset) <= room.gone or is_forgotten then return i + 4, 'gone' end
  if known or room.slack == 0 then
    if (known and string.match(known, '^%d+') or '0') ~= expected then return i + 4, 'conflict' end
  elseif room.floor > tonumber(heard) then
    -- Its last change may be in the archive alone. Whoever has heard all that was let go of knows
    -- that one.
    return i + 4, 'conflict'
  end
  if tonumber(offset) > room.top then return i + 4, 'conflict' end
  -- All changes have expired: those before this one are forgotten.
  if not known and call('EXISTS', room.changed) == 0 then room.floor = room.changes end
  room.changes = room.changes + 1
  -- The body before cannot be read any more.
  call('XDEL', room.stream, offset .. '-0')
  call('HSET', room.changed, offset, room.changes .. ' ' .. fate .. ' ' .. record)
  room.is_renewed = true
  return i + 4, 'c ' .. room.changes, fate == 'd' and 'x' or 'c', room.changes, tonumber(offset)
end

function acts.d(room, args, i, record, stale)
  local title, last = args[i], i + 1 + 2 * tonumber(args[i + 1])
  if stale then return last + 1, 'stale' end
  if title ~= '' then list(room, string.sub(title, 1, 1), string.sub(title, 2)) end
  for at = i + 2, last, 2 do
    if args[at + 1] == '' then
      call('HDEL', room.facts, args[at])
    else
      call('HSET', room.facts, args[at], args[at + 1])
    end
  end
  room.rev = room.rev + 1
  room.is_renewed = true
  return last + 1, 'd ' .. room.rev, 'd', room.rev, 0
end

function acts.n(room, args, i, record, stale)
  if stale then return i, 'stale' end
  return i, 'd ' .. room.rev, 'n', 0, 0
end

-- Lets go of what is older than the room keeps, or more. What is deleted goes, too: of what was
-- there nobody is told any more.
function acts.o(room, args, i, record, stale)
  if stale then return i + 3, 'stale' end
  local upto, change = math.min(tonumber(args[i]), room.top), tonumber(args[i + 1])
  if args[i + 2] == '' then
    call('ZREM', room.due, room.topic)
  else
    call('ZADD', room.due, room.now + args[i + 2], room.topic)
  end
  if upto > room.gone then
    for _, offset in ipairs(call('HKEYS', room.changed)) do
      if tonumber(offset) <= upto then
        local known = string.match(call('HGET', room.changed, offset), '^%d+')
        change = math.max(change, tonumber(known))
        call('HDEL', room.changed, offset)
      end
    end
    call('XTRIM', room.stream, 'MINID', string.format('%d', upto + 1) .. '-0')
    room.gone, room.gone_change = upto, math.max(room.gone_change, math.min(change, room.changes))
    room.floor = math.max(room.floor, room.gone_change)
    room.lets_go = true
  end
  return i + 3, 'd ' .. room.rev
end

-- Up to which message and which change a room is in the archive, of what counts in its epoch.
local function archived_of(room)
  local known = call('HGET', room.archived, room.topic) or ''
  local epoch, offset, change = string.match(known, '^(%x+) (%d+) (%d+) ')
  if not epoch then return 0, 0 end
  offset, change = tonumber(offset), tonumber(change)
  if epoch == room.epoch then return offset, change end
  for of, kept, kept_change in string.gmatch(room.lineage, '(%x+):(%d+)/(%d+)/') do
    offset, change = math.min(offset, tonumber(kept)), math.min(change, tonumber(kept_change))
    if of == epoch then return offset, change end
  end
  return 0, 0
end

-- Lets go of what lies before the last `history` messages: of changes all but the last deletions,
-- since whoever has a deleted message must hear of that.
-- Where there is an archive, what it does not have waits for it, up to so many messages more. What
-- it has, and does not have as it has become, waits without a bound: nobody is to be shown what was
-- there before. Pinned messages stay, since whoever opens a room is told which they are.
local function trim(room, history)
  local first = room.top - history + 1
  local offset_there, change_there = 0, 0
  if room.slack > 0 then
    offset_there, change_there = archived_of(room)
    first = math.min(first, math.max(offset_there + 1, first - room.slack))
  end
  if first <= 1 then return end
  call('XTRIM', room.stream, 'MINID', '~', first .. '-0')
  local function forget(change, offset)
    room.floor = math.max(room.floor, change)
    call('HDEL', room.changed, offset)
  end
  local function waits(offset, change, fate)
    return room.slack > 0
      and (fate == 'p' or change > change_there and offset <= offset_there)
  end
  local deleted = {}
  for _, offset in ipairs(call('HKEYS', room.changed)) do
    if tonumber(offset) < first then
      local change, fate = string.match(call('HGET', room.changed, offset), '^(%d+) (.)')
      change = tonumber(change)
      if waits(tonumber(offset), change, fate) then
        change = nil
      elseif fate == 'd' then
        deleted[#deleted + 1] = {change, offset}
      else
        forget(change, offset)
      end
    end
  end
  table.sort(deleted, function(a, b) return a[1] < b[1] end)
  for i = 1, #deleted - history do forget(deleted[i][1], deleted[i][2]) end
end

-- Sets anew when a room's keys expire. That is for each hour of the room's, and for each call that
-- may have made one of them; so they live for an hour longer than is asked for. Messages and their
-- changes go together, and so does all that is known of a room, if it was not founded. Such a room
-- is listed from when something is kept of it.
--
-- Where there is an archive, messages expire when all of them are in it, and changes with the room:
-- pinned messages are among these.
local function renew(room, history_s, room_s)
  local with_room = {room.facts, room.audit, room.name}
  if room.slack > 0 then
    call('PERSIST', room.stream)
    with_room[4] = room.changed
  else
    call('EXPIRE', room.stream, history_s + HOUR_S)
    call('EXPIRE', room.changed, history_s + HOUR_S)
  end
  local kind = string.match(call('HGET', room.listed, room.topic) or '-', '^.')
  local is_founded = kind ~= '-'
  if not is_founded and (room.top > 0 or room.rev > 0 or room.audited > 0) then
    list(room, '-', '')
  end
  for _, key in ipairs(with_room) do
    if is_founded then call('PERSIST', key) else call('EXPIRE', key, room_s + HOUR_S) end
  end
end

-- Appends entries to a room, or only looks on which history of the engine it is.
--
-- KEYS: meta, stream, keys, older keys, changed, facts, audit, listed, archived, unarchived, due; all
-- in one slot.
-- ARGV: fresh epoch, channel, topic, history, history_s, room_s, key_s, audit lines, channel of the
-- list, for how many messages more than `history` an archive is waited for or 0 if there is none;
-- then for each entry its kind, `EPOCH REV` that it was judged by or '', record, line or '', and
--   m  hash of its key or ''
--   c  offset, expected change, d or p (deleted, pinned) or -, the last change that was heard
--   d  oTITLE or pTITLE or '', count of facts, then for each its field and its value or ''
--   n
--   o  up to which offset all goes, up to which change of those, in how many milliseconds it is
--      looked at again or ''
-- Answers the meta, then a receipt for each entry: `m EPOCH OFFSET AT`, `c CHANGE`, `d REV`,
-- `stale`, `conflict`, `gone`.
redis.register_function('chinwag_1_append', function(keys, args)
  local now = look()
  local room = room_of(keys, args[1])
  if not room then return redis.error_reply('CHINWAG meta of another layout') end
  local history = tonumber(args[4])
  local top_before, changes_before, at_before = room.top, room.changes, room.at
  room.name, room.topic, room.list_channel = keys[1], args[3], args[9]
  room.slack = tonumber(args[10])
  -- A room has one clock, which is never put back.
  room.now = math.max(room.at, now)
  local answer, news, i = {''}, {}, 11
  while i <= #args do
    local kind, judged, record, line = args[i], args[i + 1], args[i + 2], args[i + 3]
    local stale = judged ~= '' and judged ~= room.epoch .. ' ' .. room.rev
    local receipt, told, number, offset
    i, receipt, told, number, offset = acts[kind](room, args, i + 4, record, stale)
    answer[#answer + 1] = receipt
    if told then
      local audited = 0
      if line ~= '' then
        room.audited = room.audited + 1
        room.is_renewed = true
        audited = room.audited
        call('XADD', room.audit, 'MAXLEN', '~', args[8], audited .. '-0', 'd', line)
      end
      news[#news + 1] = struct.pack(
        '<c1I8I8I4c0I8I4c0', told, number, offset, #record, record, audited, #line, line)
    end
  end
  if #news == 0 and not room.turned and not room.lets_go then
    answer[1] = room.meta
    -- A replica that has this has what is told as known: who waits for replicas waits for that.
    if room.has_known then call('SET', room.name, room.meta, 'KEEPTTL') end
    return answer
  end
  if #news > 0 then room.at = room.now end
  if room.has_new_keys then call('EXPIRE', room.keys, tonumber(args[7])) end
  if math.floor(room.top / STRIDE) ~= math.floor(top_before / STRIDE) then
    if call('HLEN', room.keys) >= KEYS_PER_HASH then call('RENAME', room.keys, room.older) end
    trim(room, history)
  end
  answer[1] = table.concat({
    1, room.epoch, room.top, room.changes, room.rev, room.floor, room.audited, room.at, room.gone,
    room.gone_change, branch, room.lineage,
  }, ' ')
  call('SET', room.name, answer[1], 'KEEPTTL')
  local hour_ms = 1000 * HOUR_S
  local is_new_hour = math.floor(room.at / hour_ms) ~= math.floor(at_before / hour_ms)
  if room.turned or room.is_renewed or is_new_hour then
    renew(room, tonumber(args[5]), tonumber(args[6]))
  end
  local is_said = room.top ~= top_before or room.changes ~= changes_before
  if room.slack > 0 and (room.turned or is_said or room.lets_go)
    and call('ZADD', room.unarchived, 'NX', room.at, room.topic) == 1
  then
    call('PERSIST', room.stream)
  end
  local head = struct.pack(
    '<c16I8I8I8I8I8I8I8I8I8I8I4c0I4', room.epoch, top_before, changes_before, room.top, room.changes,
    room.rev, room.audited, room.floor, room.at, room.gone, room.gone_change, #room.lineage,
    room.lineage, #news)
  call('SPUBLISH', args[2], 'E' .. head .. table.concat(news))
  return answer
end)

-- Reads a room: meta, last messages, changed ones, facts, what of it is in the archive. A
-- transaction does so several times faster, but is refused by Redis where there is no memory.
--
-- KEYS: meta, stream, changed, facts, archived. ARGV: history, topic.
local function read(keys, args)
  return {
    redis.call('GET', keys[1]), redis.call('XREVRANGE', keys[2], '+', '-', 'COUNT', args[1]),
    redis.call('HGETALL', keys[3]), redis.call('HGETALL', keys[4]),
    redis.call('HGET', keys[5], args[2]),
  }
end

redis.register_function{function_name = 'chinwag_1_read', callback = read, flags = {'no-writes'}}

-- Notes what of a room is in the archive. If that is all, the room waits for it no more.
--
-- KEYS: meta, stream, archived, unarchived; all in one slot. ARGV: topic, epoch, the last offset and
-- change that are there, the offset before which and the change before which something is missing
-- there, history_s, up to which offset nothing is there any more that the room has let go of.
redis.register_function('chinwag_1_archived', function(keys, args)
  call = redis.call
  local topic, epoch = args[1], args[2]
  local stands = call('GET', keys[1])
  if not stands then
    call('HDEL', keys[3], topic)
    return call('ZREM', keys[4], topic)
  end
  local of, top, changes, _, _, _, _, gone = string.match(stands, META)
  -- Another version has written it.
  if not of then return 0 end
  call('HSET', keys[3], topic, table.concat({epoch, args[3], args[4], args[5], args[6]}, ' '))
  if of ~= epoch or top ~= args[3] or changes ~= args[4] or gone ~= args[8] then return 0 end
  call('EXPIRE', keys[2], tonumber(args[7]) + HOUR_S)
  return call('ZREM', keys[4], topic)
end)

-- Notes that rooms are looked at within so many milliseconds whether something of them is to go.
--
-- KEYS: due. ARGV: in how many milliseconds or '' if they are not to be, then the topic of each.
redis.register_function('chinwag_1_age', function(keys, args)
  local now = time()
  for i = 2, #args do
    if args[1] == '' then
      call('ZREM', keys[1], args[i])
    else
      call('ZADD', keys[1], 'LT', now + args[1], args[i])
    end
  end
  return #args - 1
end)

-- Rooms that are to be looked at now, those that have waited longest first. They are again later,
-- should whoever asks not come to it.
--
-- KEYS: due. ARGV: how many at most, in how many milliseconds again.
-- Answers the time, then the topic of each.
redis.register_function('chinwag_1_due', function(keys, args)
  local now = time()
  local due = call('ZRANGE', keys[1], '-inf', now, 'BYSCORE', 'LIMIT', 0, args[1])
  for _, topic in ipairs(due) do call('ZADD', keys[1], now + args[2], topic) end
  return {now, unpack(due)}
end)

-- Takes rooms out of the list of their partition that were not founded, and are not known any more.
--
-- KEYS: listed, archived, then the meta of each room; all in one slot. ARGV: the topic of each room.
redis.register_function('chinwag_1_forget', function(keys, args)
  call = redis.call
  for i, topic in ipairs(args) do
    local is_founded = string.match(call('HGET', keys[1], topic) or '-', '^[^-]')
    if not is_founded and call('EXISTS', keys[i + 2]) == 0 then
      call('HDEL', keys[1], topic)
      call('HDEL', keys[2], topic)
    end
  end
  return #args
end)

-- Says that a node lives for so long, and which nodes do.
--
-- KEYS: nodes. ARGV: node, its life or 0, lease_ms.
-- Answers the time, the node's life, then `NODE:LIFE` of each that lives.
local function beat(keys, args)
  local nodes, node, life = keys[1], args[1], tonumber(args[2])
  local now = look()
  local function name() return node .. ':' .. string.format('%016x', life) end
  call('ZREMRANGEBYSCORE', nodes, '-inf', now)
  if life == 0 or not call('ZSCORE', nodes, name()) then
    -- Whoever was thought dead lives anew, and lives of a node grow though a clock is put back.
    for _, known in ipairs(call('ZRANGE', nodes, 0, -1)) do
      local of, other = string.match(known, '^(%x+):(%x+)$')
      if of == node then
        life = math.max(life, tonumber(other, 16))
        call('ZREM', nodes, known)
      end
    end
    life = math.max(now, life + 1)
  end
  call('ZADD', nodes, now + tonumber(args[3]), name())
  return {now, life, unpack(call('ZRANGE', nodes, 0, -1))}
end

-- It needs next to no memory, and nodes are not dead because there is none.
redis.register_function{
  function_name = 'chinwag_1_beat', callback = beat, flags = {'allow-oom'},
}

-- Names the commands that this user may not call, of all that are ever called. Of keys and channels
-- only those that are given are looked at.
--
-- KEYS: any of ours. ARGV: a channel of ours.
local function lacks(keys, args)
  local key, channel, lacking = keys[1], args[1], {}
  for _, command in ipairs({
    {'EXEC'}, {'EXISTS', key}, {'EXPIRE', key, 1}, {'FCALL', 'chinwag_1_beat', 1, key},
    {'GET', key}, {'HDEL', key, 1}, {'HGET', key, 1}, {'HGETALL', key},
    {'HKEYS', key}, {'HLEN', key}, {'HSCAN', key, 0}, {'HSET', key, 1, 1}, {'HSETNX', key, 1, 1},
    {'HVALS', key}, {'INFO'}, {'MULTI'}, {'PERSIST', key}, {'PING'}, {'RENAME', key, key},
    {'SET', key, 1}, {'SPUBLISH', channel, 1}, {'SSUBSCRIBE', channel}, {'SUNSUBSCRIBE', channel},
    {'TIME'}, {'WAIT', 1, 1}, {'XADD', key, '*', 1, 1}, {'XDEL', key, '1-0'},
    {'XINFO', 'STREAM', key}, {'XREVRANGE', key, '+', '-'}, {'XTRIM', key, 'MAXLEN', 1},
    {'ZADD', key, 1, 1}, {'ZRANGE', key, 0, 1}, {'ZREM', key, 1},
    {'ZREMRANGEBYSCORE', key, 0, 1}, {'ZSCORE', key, 1},
  }) do
    if not redis.acl_check_cmd(unpack(command)) then lacking[#lacking + 1] = command[1] end
  end
  return lacking
end

redis.register_function{function_name = 'chinwag_1_lacks', callback = lacks, flags = {'no-writes'}}
