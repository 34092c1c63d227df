// What can go wrong with Redis, and what it means for a caller.

import IdempotencyStore

/// Why a pipeline has no replies. After `lost`, `late` and `untrusted` the connection is of no more use.
enum RedisFailure: Error {
    case lost(String)
    case late
    /// TLS found out that it is not the server that was meant, or that there is no telling.
    case untrusted(String)
    /// The server answered one of the commands with an error.
    case refused(String)

    /// The scripts are not in the server's memory (it was restarted, or somebody flushed them).
    var isMissingScript: Bool {
        guard case .refused(let message) = self else { return false }
        return message.hasPrefix("NOSCRIPT")
    }

    /// Whether another connection may do better: the server is a replica now, or is loading or going.
    var isOfThisConnection: Bool {
        switch self {
        case .lost, .late, .untrusted: return true
        case .refused(let message):
            return ["READONLY", "LOADING", "MASTERDOWN", "NOAUTH"].contains { message.hasPrefix($0) }
        }
    }

    func storeError(_ target: RedisTarget, _ timeLimit: Duration) -> StoreError {
        switch self {
        case .lost(let why): return .unavailable("\(target): \(why)")
        case .late: return .unavailable("\(target) did not answer within \(timeLimit.wholeMilliseconds) ms")
        case .untrusted(let why):
            return .unusable("\(target): \(why); see store.caFile and the host in the store's URL")
        case .refused(let message):
            let text = "\(target) says \"\(message)\""
            switch message.prefix(while: { $0 != " " }) {
            case "OOM":
                return .full("\(text): raise its maxmemory")
            case "MISCONF":
                return .full("\(text): it cannot write to its disk; free space there")
            case "NOAUTH", "WRONGPASS":
                return .unusable("\(text): set user and password in the store's URL")
            case "NOPERM":
                return .unusable(
                    "\(text): the user needs GET, MGET, SET, DEL, INCRBY, TIME, SCAN, ZADD, ZREM, ZRANGEBYSCORE, SCRIPT, EVALSHA "
                        + "and SELECT on the store's keys")
            case "READONLY":
                // A failover makes it, or the one behind the name, the primary.
                return .unavailable("\(text): name the primary in the store's URL, not a replica")
            case "MOVED", "ASK", "CROSSSLOT":
                return .unusable("\(text): Redis Cluster is not supported; name a server without cluster mode")
            case "LOADING", "MASTERDOWN", "CLUSTERDOWN", "BUSY", "TRYAGAIN", "NOREPLICAS":
                return .unavailable(text)
            case "ERR" where message.contains("max number of clients"):
                return .unavailable(text)
            default:
                return .unusable(text)
            }
        }
    }
}
