// Which refusals look like trouble of the whole org and are one command's own. Pure.

import InteractionAPI
import RoutingContract

/// The commands of one org that were refused as if nothing of the org could be called for (a status 403, a channel that is
/// not set up), while others of their kind went on to succeed.
///
/// One refusal proves nothing: somebody may just have changed the configuration, and the change may not have reached all
/// servers. A command that is refused whenever it is called, with others that succeed in between, has a trouble of its own:
/// a body that a firewall does not let through, a channel that is not set up. Without an end it would close its org's gate
/// again and again.
struct LonelyRefusals: Sendable {
    /// So many refusals, each followed by another command's success, are the command's own trouble.
    static let limit = 5
    /// Commands known at a time; beyond it all are forgotten, and found out anew.
    static let maximum = 1000

    private struct Refusals {
        /// Those that were followed by a success of another command.
        var lonely = 0
        /// The successes of its kind when it was refused last.
        var successes: Int
    }

    private var successes: [CommandKind: Int] = [:]
    private var refusals: [CommandKey: Refusals] = [:]

    var count: Int { refusals.count }

    /// A call for a command ended.
    mutating func called(for key: CommandKey, _ verdict: Verdict) {
        switch verdict {
        case .succeeded, .nothingCleared:
            refusals[key] = nil
            successes[key.kind, default: 0] += 1
        case .configuration:
            if refusals.count >= Self.maximum, refusals[key] == nil { refusals = [:] }
            refusals[key] = Refusals(lonely: lonely(key), successes: successes[key.kind] ?? 0)
        case .rejected, .token, .transient, .unknown: break
        }
    }

    /// Whether one more refusal is the command's own trouble.
    func isOwnTrouble(of key: CommandKey) -> Bool { lonely(key) >= Self.limit }

    private func lonely(_ key: CommandKey) -> Int {
        guard let known = refusals[key] else { return 0 }
        return known.lonely + ((successes[key.kind] ?? 0) > known.successes ? 1 : 0)
    }
}
