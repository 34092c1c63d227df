// What runs inside Redis: comparing and writing as one step, and the purge.

/// Lua scripts. They write what they were given and compare bytes; every decision is taken in the worker.
///
/// Values start with the time until which they are kept, in decimal milliseconds, and `;`. The index is a sorted set of
/// keys by the time at which a purge looks at them.
enum RedisScripts {
    /// KEYS: the index, then the keys to write. ARGV: for each key what was found ('' for nothing), what is to be ('' for
    /// nothing), and when a purge looks at it ('' leaves that as it is; it does not count for a key that is to be gone).
    /// Writes all of it and returns 1, or nothing and returns 0 when a key holds something else by now.
    static let write = """
        for i = 2, #KEYS do
          if (redis.call('GET', KEYS[i]) or '') ~= ARGV[3 * i - 5] then return 0 end
        end
        for i = 2, #KEYS do
          local value, look = ARGV[3 * i - 4], ARGV[3 * i - 3]
          if value == '' then
            redis.call('DEL', KEYS[i])
            redis.call('ZREM', KEYS[1], KEYS[i])
          else
            redis.call('SET', KEYS[i], value)
            if look ~= '' then redis.call('ZADD', KEYS[1], look, KEYS[i]) end
          end
        end
        return 1
        """

    /// KEYS: the index. ARGV: the time, and how many entries to look at. Returns how many were removed, and how many were
    /// looked at. What stays is taken out of the index before it is put in again: a Redis without memory refuses a script
    /// that begins with what may take some, and this one would never give any free.
    static let purge = """
        local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, ARGV[2])
        local removed = 0
        for _, key in ipairs(due) do
          local value = redis.call('GET', key)
          local keep = value and tonumber(string.match(value, '^-?%d+'))
          redis.call('ZREM', KEYS[1], key)
          if keep and keep > tonumber(ARGV[1]) then
            redis.call('ZADD', KEYS[1], string.match(value, '^-?%d+'), key)
          else
            removed = removed + redis.call('DEL', key)
          end
        end
        return {removed, #due}
        """
}
