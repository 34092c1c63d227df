// What became of sent commands: a line each, or where they are many, a summary.

import AMQP
import CommandClient
import Foundation
import NIOConcurrencyHelpers
import RoutingContract
import WorkerLog

/// Tells how sent commands ended, and with which effects.
struct SendReport {
    /// More rows than this are summed up by outcome.
    private static let rowsShown = 60

    private let sent: [CommandSender.Sent]
    private let queue: String?
    private let effects: [String: Int]?
    private let awaited: Bool

    /// - Parameter queue: where they were sent to; `nil` for partitions.
    init(_ sent: [CommandSender.Sent], to queue: String?, effects: [String: Int]?, awaited: Bool) {
        self.sent = sent
        self.queue = queue
        self.effects = effects
        self.awaited = awaited
    }

    private var unpublished: Int { sent.count { $0.outcome != .confirmed } }
    private var unanswered: Int {
        sent.count { awaited && $0.isAwaited && $0.outcome == .confirmed && $0.answer == nil }
    }

    /// Commands that succeeded without an effect of theirs, or with more than one.
    private var doubtful: Int {
        guard let effects else { return 0 }
        let succeeded = Set(
            sent.filter { $0.answer?.outcome == .succeeded && $0.answer?.command == "route" }.compactMap(\.requestKey))
        return succeeded.count { effects[$0, default: 0] != 1 }
    }

    var isComplete: Bool { unpublished == 0 && unanswered == 0 && doubtful == 0 }

    var shortcomings: String {
        var lines: [String] = []
        if unpublished > 0 {
            let why = sent.lazy.compactMap { reason(of: $0.outcome) }.first ?? ""
            lines.append("\(counted(unpublished, "command")) not taken by the broker: \(why)")
        }
        if unanswered > 0 {
            lines.append(
                "\(counted(unanswered, "command")) not answered: is a worker running? Is the org paused (`route-worker "
                    + "controls`), or parked (the worker's log says why)?")
        }
        if doubtful > 0 {
            lines.append("\(counted(doubtful, "route")) succeeded with another number of effects than one")
        }
        return lines.joined(separator: "\n")
    }

    /// Why the broker does not have a command; `nil` where it has.
    private func reason(of outcome: PublishOutcome) -> String? {
        switch outcome {
        case .confirmed: nil
        case .returned:
            (queue.map { "there is no queue '\($0)'" } ?? "there are no partitions")
                + "; see `route-worker topology check`"
        case .nacked: "the queue refuses it (is it full?)"
        case .failed(let error), .refused(let error): "\(error)"
        }
    }

    var text: String {
        guard awaited else { return "\(counted(sent.count - unpublished, "command")) sent" }
        return sent.count > Self.rowsShown ? summary : rows + messages + "\n\n" + summary
    }

    func printAnswers() {
        for answer in sent.compactMap(\.answer) { print(String(decoding: answer.body, as: UTF8.self)) }
    }

    private var rows: String {
        var headings = ["RequestId", "command", "outcome", "dup", "HTTP", "code", "calls", "reason"]
        if effects != nil { headings.insert("effects", at: 7) }
        var table = Table(headings, rightAligned: [4, 5, 6], maximumWidth: 56)
        for command in sent {
            let answer = command.answer
            var cells = [
                command.spec.requestID ?? "–", answer?.command ?? "–",
                answer?.outcome.rawValue ?? (command.isAwaited ? "no answer" : "answered elsewhere"),
                answer?.duplicate == true ? "yes" : "", answer?.httpStatus.map(String.init) ?? "",
                answer?.errorCode.map(String.init) ?? "", answer.map { String($0.attempts) } ?? "",
                answer?.reason ?? "",
            ]
            if let effects { cells.insert(command.effectKey.map { String(effects[$0, default: 0]) } ?? "", at: 7) }
            table.add(cells)
        }
        return table.rendered()
    }

    /// What went wrong, in sentences too long for a column.
    private var messages: String {
        let lines = sent.compactMap { command in
            command.answer?.errorMessage.map { "\(command.spec.requestID ?? "–"): \($0.oneLine)" }
        }
        return lines.isEmpty ? "" : "\n\n" + lines.joined(separator: "\n")
    }

    private var summary: String {
        var headings = ["outcome", "commands", "duplicates", "calls"]
        if effects != nil { headings.append("effects") }
        var table = Table(headings, rightAligned: [1, 2, 3, 4])
        let byOutcome = Dictionary(grouping: sent) {
            $0.answer?.outcome.rawValue ?? ($0.isAwaited ? "no answer" : "answered elsewhere")
        }
        for (outcome, commands) in byOutcome.sorted(by: { ($0.value.count, $1.key) > ($1.value.count, $0.key) }) {
            let first = commands.filter { $0.answer?.duplicate != true }
            var cells = [
                outcome, String(commands.count), String(commands.count - first.count),
                String(first.reduce(0) { $0 + ($1.answer?.attempts ?? 0) }),
            ]
            if let effects {
                let ids = Set(commands.compactMap(\.effectKey))
                cells.append(String(ids.reduce(0) { $0 + effects[$1, default: 0] }))
            }
            table.add(cells)
        }
        return table.rendered()
    }
}

extension CommandSender.Sent {
    /// The RequestId as the ledger has it.
    fileprivate var requestKey: String? { spec.requestID.flatMap { RequestID($0) }?.description }

    /// The RequestId, where effects on the ledger are this command's: those of a conflict are another's.
    fileprivate var effectKey: String? { answer?.outcome == .conflict ? nil : requestKey }
}

/// Draws a progress bar from whichever thread has news.
final class ProgressReporter: Sendable {
    private let bar: NIOLockedValueBox<ProgressBar>

    init(_ title: String, total: Int) { bar = NIOLockedValueBox(ProgressBar(title, total: total)) }

    func update(_ done: Int, note: String = "") { bar.withLockedValue { $0.update(done, note: note) } }
    func finish(_ done: Int) { bar.withLockedValue { $0.finish(done) } }
}
