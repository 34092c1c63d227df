// A second, plainer telling of the store's promises, to check random histories against.

import IdempotencyStore
import RoutingContract

/// Keeps what it must know of each command as loose facts, and answers one operation after another from them.
struct StoreModel {
    private struct Facts {
        var meaning: Fingerprint
        var token: Int64 = 0
        var leaseEnd: Int64?
        var nonce: UInt64?
        var calls = 0
        var isDoubtful = false
        var highestReplay = 0
        var isOver = false
        /// Also of a command that a replay has opened, until a lease runs out.
        var ended: (result: CommandResult, replay: Int)?
        var keepUntil: Int64 = 0
        var nextLook: Int64 = 0
        var told: [Told] = []
        /// Whose it is, from its claim until that is forgotten.
        var conversation: String?
    }

    /// One thing that is told of a command, without its time; what comes again and again is told with a count.
    struct Told: Equatable {
        var words: String
        var count = 1
    }

    let shortKeep: Int64
    let longKeep: Int64
    private var commands: [CommandKey: Facts] = [:]
    private var marks: [String: (issued: Int64, keepUntil: Int64)] = [:]
    private var tokens: Int64 = 0

    init(retention: Retention) {
        shortKeep = retention.succeeded.wholeMilliseconds
        longKeep = retention.failed.wholeMilliseconds
    }

    /// What is told of a command: the first four, the last twenty-eight, and how many between them are not.
    func story(of key: CommandKey) -> (told: [Told], dropped: Int)? {
        guard let all = commands[key]?.told else { return nil }
        guard all.count > 32 else { return (all, 0) }
        return (all.prefix(4) + all.suffix(28), all.count - 32)
    }

    private mutating func tell(_ key: CommandKey, _ words: String, counts: Bool = false) {
        guard var told = commands[key]?.told else { return }
        if counts, told.last?.words == words {
            told[told.count - 1].count += 1
        } else {
            told.append(Told(words: words))
        }
        commands[key]?.told = told
    }

    private mutating func tell(_ calls: [CallNote], of key: CommandKey) {
        for call in calls { tell(key, "called \(call.reason)") }
    }

    /// - Parameter token: the one that the store gave, if it gave one. Any is right that is higher than all before.
    mutating func claim(_ wish: ClaimRequest, at now: Int64, token: Int64?) -> ClaimResult {
        let isNew = commands[wish.key] == nil
        var facts = commands[wish.key] ?? Facts(meaning: wish.fingerprint)
        if facts.meaning != wish.fingerprint {
            let isHeld = facts.leaseEnd != nil || facts.isOver
            if isHeld || facts.ended != nil || facts.calls > 0 || facts.isDoubtful {
                tell(wish.key, "conflict", counts: true)
                return .conflict
            }
            (facts.meaning, facts.conversation) = (wish.fingerprint, nil)
        }
        var how = "acquired"
        if facts.isOver, let ended = facts.ended {
            let mayReopen =
                switch ended.result.outcome {
                case .succeeded, .superseded: false
                case .unknown: wish.acceptsSecondEffect
                default: ended.result.error?.reason != "nothing-cleared"
                }
            if wish.replay <= ended.replay || !mayReopen {
                tell(wish.key, "duplicate", counts: true)
                return .completed(ended.result, replay: ended.replay)
            }
            how = "reopened"
            facts.isOver = false
            facts.calls = 0
        }
        var ranOut = false
        if let leaseEnd = facts.leaseEnd, wish.nonce == nil || wish.nonce != facts.nonce {
            if leaseEnd > now { return .inProgress(.milliseconds(leaseEnd - now)) }
            ranOut = true
            facts.isDoubtful = true
            facts.ended = nil
            how = "interrupted"
        } else if facts.leaseEnd != nil {
            how = "askedAgain"
        }
        if let made = wish.callsMade {
            facts.calls = max(facts.calls, made.attempts)
            if made.mayHaveTakenEffect { facts.isDoubtful = true }
        }
        tokens = max(tokens + 1, token ?? 0)
        facts.token = tokens
        facts.leaseEnd = now + wish.lease.wholeMilliseconds
        facts.nonce = wish.nonce
        facts.highestReplay = max(facts.highestReplay, wish.replay)
        facts.keepUntil = now + wish.lease.wholeMilliseconds + longKeep
        if isNew {
            facts.nextLook = now + wish.lease.wholeMilliseconds + min(shortKeep, longKeep)
            if wish.key.kind == .delete, let issued = wish.issuedAt?.milliseconds {
                leaveMark(wish.conversation, issued, now)
            }
        }
        facts.conversation = facts.conversation ?? wish.conversation
        commands[wish.key] = facts
        let claim = Claim(
            key: wish.key, token: tokens, attempts: facts.calls, mayHaveTakenEffect: facts.isDoubtful,
            replay: facts.highestReplay, isReopened: facts.ended != nil)
        if ranOut {
            tell(wish.key, "claimed interrupted")
            return .interrupted(claim)
        }
        if wish.key.kind == .route, !facts.isDoubtful, let issued = wish.issuedAt?.milliseconds,
            let mark = marks[wish.conversation], mark.issued > issued
        {
            tell(wish.key, "claimed superseded")
            return .superseded(claim)
        }
        tell(wish.key, "claimed \(how)")
        return .acquired(claim)
    }

    mutating func record(_ result: CommandResult, _ claim: Claim, at now: Int64) -> Fencing {
        guard var facts = commands[claim.key], facts.token == claim.token else { return .lost }
        if facts.isOver { return .held }
        guard let leaseEnd = facts.leaseEnd, leaseEnd > now else { return .lost }
        facts.leaseEnd = nil
        facts.isOver = true
        facts.ended = (result, facts.highestReplay)
        facts.calls = max(facts.calls, result.attempts)
        if result.outcome == .unknown { facts.isDoubtful = true }
        facts.keepUntil = now + (result.needsDeadLetter ? longKeep : shortKeep)
        commands[claim.key] = facts
        tell(claim.calls, of: claim.key)
        tell(claim.key, "ended \(result.outcome)")
        return .held
    }

    mutating func release(_ claim: Claim, _ release: Release, at now: Int64) -> Fencing {
        guard var facts = commands[claim.key], facts.token == claim.token, !facts.isOver else { return .lost }
        if facts.leaseEnd == nil { return .held }
        facts.leaseEnd = nil
        switch release {
        case .forRetry(let attempts, let mayHaveTakenEffect):
            facts.calls = max(facts.calls, attempts)
            facts.isDoubtful = facts.isDoubtful || mayHaveTakenEffect
        case .unbound where facts.calls > 0:
            break
        case .unbound:
            if let ended = facts.ended, !facts.isDoubtful || ended.result.outcome == .unknown {
                facts.isOver = true
                facts.highestReplay = ended.replay
                facts.calls = ended.result.attempts
            } else if !facts.isDoubtful {
                commands[claim.key] = nil
                return .held
            }
        }
        let hasFailed = facts.isDoubtful || facts.ended?.result.needsDeadLetter == true
        facts.keepUntil = now + (hasFailed ? longKeep : shortKeep)
        commands[claim.key] = facts
        tell(claim.calls, of: claim.key)
        tell(claim.key, "released")
        return .held
    }

    func keys(of conversation: String) -> Set<CommandKey> {
        Set(commands.filter { $0.value.conversation == conversation }.keys)
    }

    mutating func forget(_ key: CommandKey, of conversation: String) -> Forgetting {
        guard var facts = commands[key], facts.conversation == conversation else { return .nothing }
        guard facts.leaseEnd == nil else { return .underWay }
        facts.conversation = nil
        facts.ended?.result.response = nil
        facts.ended?.result.error?.message = "removed with all else that was kept of the conversation"
        commands[key] = facts
        tell(key, "forgotten")
        return .forgotten
    }

    mutating func forgetMark(of conversation: String) -> Forgetting {
        marks.removeValue(forKey: conversation) == nil ? .nothing : .forgotten
    }

    mutating func mark(_ wish: ClaimRequest, at now: Int64) {
        guard wish.key.kind == .delete, commands[wish.key] == nil, let issued = wish.issuedAt else { return }
        leaveMark(wish.conversation, issued.milliseconds, now)
    }

    private mutating func leaveMark(_ conversation: String, _ issued: Int64, _ now: Int64) {
        let keepUntil = max(now, issued) + shortKeep
        let known = marks[conversation] ?? (issued, keepUntil)
        marks[conversation] = (max(known.issued, issued), max(known.keepUntil, keepUntil))
    }

    /// Without a limit.
    mutating func purge(at now: Int64) -> Int {
        var removed = 0
        for (key, facts) in commands where facts.nextLook <= now {
            if facts.keepUntil > now {
                commands[key]?.nextLook = facts.keepUntil
            } else {
                commands[key] = nil
                removed += 1
            }
        }
        for (conversation, mark) in marks where mark.keepUntil <= now {
            marks[conversation] = nil
            removed += 1
        }
        return removed
    }
}
