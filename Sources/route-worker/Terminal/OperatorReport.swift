// What an operator is told at the end of a pass over the dead letters. Pure.

import DeadLetters
import RoutingContract

/// The summary of a pass, and whether all went well.
struct OperatorReport {
    /// What was done, in the past and for a dry run.
    struct Words {
        var done: String
        var wouldBeDone: String
    }

    static let replay = Words(done: "replayed", wouldBeDone: "would replay")
    static let discard = Words(done: "discarded", wouldBeDone: "would discard")
    static let forget = Words(done: "removed", wouldBeDone: "would remove")

    let report: OperatorRun.Report
    let words: Words
    let isDry: Bool
    let isInterrupted: Bool

    var isWell: Bool { report.refused == 0 && report.failure == nil && !isInterrupted }

    var text: String {
        let what = isDry ? words.wouldBeDone : words.done
        var lines = [
            "\(what) \(report.done) of \(report.matched) dead letters that match, of \(report.look.seen) looked at"
                + (isDry ? "; nothing was changed" : "")
        ]
        for (reason, refusal) in report.refusals.sorted(by: { ($1.value.count, $0.key) < ($0.value.count, $1.key) }) {
            let more = refusal.count > refusal.examples.count ? ", …" : ""
            lines.append(
                "  left \(refusal.count): \(reason) (\(refusal.examples.joined(separator: ", "))\(more))".oneLine)
        }
        if let failure = report.failure { lines.append("  stopped: \(failure)".oneLine) }
        if isInterrupted { lines.append("  interrupted: the rest is as it was") }
        if report.look.isCut {
            lines.append(
                "  there are \(report.look.expected): more than these cannot be looked at while the oldest stay")
        }
        return lines.joined(separator: "\n")
    }
}

extension ReplayRefusal {
    /// For people, and the same for all that can be helped in the same way.
    var words: String {
        switch self {
        case .incomplete: "it cannot be published again as it came; discard it"
        case .tooManyReplays: "it was replayed a million times"
        case .stillInvalid(let error): "it would end invalid again: \(error.reason): \(error.message)"
        case .deadlinePassed: "its deadline has passed; give a new one with --deadline"
        case .mayHaveTakenEffect:
            "its outcome is unknown: a call of it may have taken effect, and a second one may double that; look in "
                + "Salesforce and resolve it, or accept a second effect with --accept-duplicate"
        case .olderThanRetention:
            "it was issued longer ago than outcomes are kept, so that nobody can tell whether it was called for already; "
                + "accept a second effect with --accept-duplicate, or discard it"
        case .unencodable(let why): "it cannot be published with a replay count: \(why)"
        }
    }
}
