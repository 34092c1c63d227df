// What a worker tells the store of its calls, for the story of the command. Pure.

import IdempotencyStore
import InteractionAPI

/// The calls that the store has not been told of yet. They travel with the next claim, record or release, so that they
/// cost no round trip of their own.
struct CallNotes {
    /// When the call under way began, and whether it is the derived delete's.
    private var underWay: (since: Moment, isClearing: Bool)?
    private(set) var untold: [CallNote] = []

    mutating func begins(_ now: Moment, isClearing: Bool) {
        underWay = (now, isClearing)
    }

    mutating func ended(_ result: CallResult, _ verdict: Verdict, _ now: Moment) {
        guard let (since, isClearing) = underWay else { return }
        underWay = nil
        let end: CallNote.End
        switch result {
        case .answered(let answer): end = .answered(status: answer.status)
        case .notSent: end = .notSent
        case .effectUnknown: end = .unanswered
        }
        let error = verdict.error
        untold.append(
            CallNote(
                startedAt: since.wall, duration: now.uptime - since.uptime, isClearing: isClearing, end: end,
                code: error?.code, reason: error?.reason ?? "", refusedRequests: result.refusedRequests))
    }

    /// A claim noted them, or found them noted. One that finds somebody else's claim running writes nothing.
    mutating func told(with result: ClaimResult) {
        switch result {
        case .inProgress: break
        case .acquired, .interrupted, .superseded, .completed, .conflict: untold = []
        }
    }

    /// A claim was given back. Where that is not known for certain, the next claim tells the calls again.
    mutating func told(with fencing: Fencing) {
        switch fencing {
        case .held: untold = []
        case .lost: break
        }
    }
}
