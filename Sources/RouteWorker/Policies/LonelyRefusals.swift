// Which refusals look like trouble of the whole org and are one command's own. Pure.

import InteractionAPI
import RoutingContract

/// The commands of one org that were refused as if nothing of the org could be called for: a status 403, a channel that is
/// not set up.
///
/// One refusal proves nothing: somebody may just have changed the configuration, and the change may not have reached all
/// servers. A command that is refused whenever it is called, with others that succeed in between, has a trouble of its own:
/// a body that a firewall does not let through, a channel that is not set up. It would close its org's gate again and again,
/// with all others behind it.
struct LonelyRefusals: Sendable {
    /// Whose trouble one more refusal of a command is.
    enum Trouble: Sendable, Hashable {
        /// That of all, as far as anybody knows.
        case orgs
        /// Perhaps its own: others go first, and show it.
        case perhapsItsOwn
        case itsOwn
    }

    /// So many refusals, with another command's success before each, are the command's own trouble.
    static let limit = 5
    /// Commands known at a time; beyond it all are forgotten, and found out anew.
    static let maximum = 1000

    private struct Refused {
        /// Refusals before which another command had succeeded since the last one.
        var lonely = 0
        /// Of its kind, when it was refused last.
        var successes: Int
        /// Of the org, when it was refused last.
        var refusals: Int
        /// It let others go first, which told nothing.
        var gaveWay: Bool
    }

    private var successes: [CommandKind: Int] = [:]
    private var refusals = 0
    private var known: [CommandKey: Refused] = [:]

    var count: Int { known.count }

    /// A call for a command ended.
    mutating func called(for key: CommandKey, _ verdict: Verdict) {
        switch verdict {
        case .succeeded, .nothingCleared:
            // Nearly always: successes count only beside what was refused.
            if known.isEmpty { return }
            known[key] = nil
            successes[key.kind, default: 0] += 1
        case .configuration:
            let gaveWay = trouble(of: key) == .perhapsItsOwn && !othersSucceeded(key)
            let lonely = lonely(key)
            if known.count >= Self.maximum, known[key] == nil { known = [:] }
            refusals += 1
            known[key] = Refused(
                lonely: lonely, successes: successes[key.kind] ?? 0, refusals: refusals, gaveWay: gaveWay)
        case .rejected, .token, .transient, .unknown: break
        }
    }

    /// Whose trouble it is if this command is refused now.
    func trouble(of key: CommandKey) -> Trouble {
        guard let before = known[key] else { return .orgs }
        if othersSucceeded(key) { return lonely(key) >= Self.limit ? .itsOwn : .perhapsItsOwn }
        // Where it stands before all others, nobody else was called for.
        return refusals > before.refusals || before.gaveWay ? .orgs : .perhapsItsOwn
    }

    private func othersSucceeded(_ key: CommandKey) -> Bool {
        known[key].map { successes[key.kind] ?? 0 > $0.successes } ?? false
    }

    private func lonely(_ key: CommandKey) -> Int { (known[key]?.lonely ?? 0) + (othersSucceeded(key) ? 1 : 0) }
}
