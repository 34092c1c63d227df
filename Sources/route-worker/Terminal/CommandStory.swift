// The story of one command, for people and as JSON. Pure.

import Foundation
import IdempotencyStore
import RoutingContract
import WorkerLog

struct CommandStory {
    let key: CommandKey
    /// The org's, where it is configured.
    let alias: String?
    let record: CommandRecord
    /// When it is told.
    let now: Timestamp

    /// How it stands, and how it had ended where it ended.
    private var standing: (state: String, words: String, ending: CommandRecord.Ending?) {
        switch record.state {
        case .claimed(let until, let before):
            let left = until - now
            let words =
                left > .zero
                ? "claimed by \(record.worker), whose lease ends \(until.rfc3339)"
                : "claimed by \(record.worker), whose lease ended \(until.rfc3339): whoever gets it next finds it interrupted"
            return ("claimed", words, before)
        case .released(let before):
            return ("released", "waiting to be tried again", before)
        case .completed(let ending):
            return ("completed", ending.result.outcome.rawValue, ending)
        }
    }

    private var psrID: String? {
        guard let response = standing.ending?.result.response?.bytes,
            let object = try? JSONSerialization.jsonObject(with: Data(response)) as? [String: Any]
        else { return nil }
        return object["psrId"] as? String
    }

    // MARK: For people

    var text: String {
        var lines = ["\(key.kind.rawValue) \(key.request) of \(alias.map { "\($0) (\(key.org))" } ?? "\(key.org)")"]
        func line(_ name: String, _ value: String?) {
            guard let value else { return }
            lines.append("  " + name.padding(toLength: 12, withPad: " ", startingAt: 0) + value.oneLine)
        }
        let (state, words, ending) = standing
        line(state == "completed" ? "outcome" : "state", words)
        if state != "completed" { line("earlier end", ending.map { $0.result.outcome.rawValue }) }
        if let result = ending?.result {
            if let error = result.error {
                line("error", "\(error.reason)\(error.code.map { ", code \($0)" } ?? ""): \(error.message)")
            }
            line("HTTP", result.httpStatus.map(String.init))
            line("psrId", psrID)
            line("answer", result.response.map { String(decoding: $0.bytes.prefix(2000), as: UTF8.self) })
            line("worker", result.worker)
            line("received", result.receivedAt.rfc3339)
            line("completed", result.completedAt.rfc3339)
        }
        line("calls", "\(record.attempts)\(record.mayHaveTakenEffect ? ", one of which may have taken effect" : "")")
        if record.replay > 0 { line("replays", "\(record.replay)") }
        line("kept until", record.keepUntil.rfc3339)
        lines.append("")
        guard let entries = record.history.entries else {
            return (lines + ["  (the story cannot be read: a newer version wrote it, or it is damaged)"])
                .joined(separator: "\n")
        }
        if entries.isEmpty { lines.append("  (an earlier version, which kept no story, took it up)") }
        for (index, entry) in entries.enumerated() {
            if index == CommandHistory.keptFirst, record.history.dropped > 0 {
                lines.append("  … \(record.history.dropped) entries are not kept …")
            }
            lines.append("  \(entry.at.rfc3339)  \(entry.event.words)".oneLine)
        }
        return lines.joined(separator: "\n")
    }

    // MARK: JSON

    static func json(of stories: [CommandStory], _ request: RequestID) throws -> String {
        let object: [String: Any] = [
            "schemaVersion": 1, "requestId": request.description, "commands": stories.map(\.object),
        ]
        let data = try JSONSerialization.data(
            withJSONObject: object, options: [.sortedKeys, .prettyPrinted, .withoutEscapingSlashes])
        return String(decoding: data, as: UTF8.self)
    }

    private var object: [String: Any] {
        let (state, _, ending) = standing
        var object: [String: Any] = [
            "command": key.kind.rawValue, "orgId": key.org.description, "state": state, "attempts": record.attempts,
            "mayHaveTakenEffect": record.mayHaveTakenEffect, "replay": record.replay, "worker": record.worker,
            "keepUntil": record.keepUntil.rfc3339, "droppedEntries": record.history.dropped,
            "history": record.history.entries.map { $0.map(\.object) as Any } ?? NSNull(),
        ]
        object["org"] = alias
        object["psrId"] = psrID
        if case .claimed(let until, _) = record.state { object["leaseUntil"] = until.rfc3339 }
        if let result = ending?.result {
            object["outcome"] = result.outcome.rawValue
            object["httpStatus"] = result.httpStatus
            object["receivedAt"] = result.receivedAt.rfc3339
            object["completedAt"] = result.completedAt.rfc3339
            object["completedBy"] = result.worker
            if let error = result.error {
                var fields: [String: Any] = ["message": error.message, "reason": error.reason]
                fields["code"] = error.code
                object["error"] = fields
            }
            if let response = result.response?.bytes {
                object["response"] =
                    (try? JSONSerialization.jsonObject(with: Data(response), options: .fragmentsAllowed))
                    ?? String(decoding: response, as: UTF8.self)
            }
        }
        return object
    }
}

extension HistoryEntry {
    fileprivate var object: [String: Any] {
        var object = event.fields
        object["at"] = at.rfc3339
        return object
    }
}

extension HistoryEntry.Event {
    fileprivate var words: String {
        switch self {
        case .claimed(let claim):
            let how =
                switch claim.kind {
                case .acquired: "claimed by \(claim.worker)"
                case .interrupted: "taken over by \(claim.worker), since the lease before had run out"
                case .superseded: "claimed by \(claim.worker), superseded by a later delete"
                case .askedAgain: "claimed again by \(claim.worker), which had no answer to its first claim"
                case .reopened: "reopened by replay \(claim.replay), claimed by \(claim.worker)"
                }
            return how + claim.delivery.words
        case .called(let call): return call.words
        case .released(let unbound):
            return unbound ? "given back without a call" : "given back, to be tried again"
        case .ended(let outcome, let replay):
            return "ended \(outcome.rawValue)" + (replay > 0 ? " (replay \(replay))" : "")
        case .seenAgain(let again):
            let what =
                switch again.kind {
                case .duplicate: "delivered again and answered as before, without a call"
                case .conflict: "delivered with another meaning: conflict"
                }
            let times = again.count > 1 ? ", \(again.count) times until \(again.lastAt.rfc3339)" : ""
            return "\(what)\(times); by \(again.worker)\(again.delivery.words)"
        case .forgotten: return "what it held of a person was removed"
        case .other(let kind): return "something of kind \(kind), which a newer version noted"
        }
    }

    fileprivate var fields: [String: Any] {
        switch self {
        case .claimed(let claim):
            var fields = claim.delivery.fields
            fields["event"] = "claimed"
            fields["kind"] = "\(claim.kind)"
            fields["worker"] = claim.worker
            fields["replay"] = claim.replay
            return fields
        case .called(let call): return call.fields
        case .released(let unbound): return ["event": "released", "unbound": unbound]
        case .ended(let outcome, let replay):
            return ["event": "ended", "outcome": outcome.rawValue, "replay": replay]
        case .seenAgain(let again):
            var fields = again.delivery.fields
            fields["event"] = "\(again.kind)"
            fields["count"] = again.count
            fields["lastAt"] = again.lastAt.rfc3339
            fields["worker"] = again.worker
            return fields
        case .forgotten: return ["event": "forgotten"]
        case .other(let kind): return ["event": "other", "kind": Int(kind)]
        }
    }
}

extension CallNote {
    fileprivate var words: String {
        let what = isClearing ? "cleared before routing again" : "called"
        let ended =
            switch end {
            case .answered(let status): "HTTP \(status)"
            case .notSent: "not sent"
            case .unanswered: "sent, no answer"
            }
        let why = [reason, code.map { "code \($0)" } ?? ""].filter { !$0.isEmpty }.joined(separator: ", ")
        let refused = refusedRequests > 0 ? "; before it \(refusedRequests) refused for the token" : ""
        return "\(what): \(ended) after \(duration.wholeMilliseconds) ms\(why.isEmpty ? "" : " (\(why))")\(refused)"
    }

    fileprivate var fields: [String: Any] {
        var fields: [String: Any] = [
            "event": "called", "milliseconds": Int(clamping: duration.wholeMilliseconds), "clearing": isClearing,
            "refusedRequests": refusedRequests,
        ]
        switch end {
        case .answered(let status):
            fields["end"] = "answered"
            fields["httpStatus"] = status
        case .notSent: fields["end"] = "notSent"
        case .unanswered: fields["end"] = "unanswered"
        }
        fields["code"] = code
        if !reason.isEmpty { fields["reason"] = reason }
        return fields
    }
}

extension DeliveryNote {
    fileprivate var words: String {
        let again = earlierDeliveries > 0 ? "delivery \(earlierDeliveries + 1)" : nil
        let received = receivedAt.map { "received \($0.rfc3339)" }
        let all = [again, received].compactMap(\.self).joined(separator: ", ")
        return all.isEmpty ? "" : " (\(all))"
    }

    fileprivate var fields: [String: Any] {
        var fields: [String: Any] = ["earlierDeliveries": earlierDeliveries]
        fields["receivedAt"] = receivedAt?.rfc3339
        return fields
    }
}
