// The trail: who did what with a dead letter, when and why. Pure.

public import AMQPMessage
import Foundation
public import RoutingContract

/// One entry of the trail. Holds no body and nothing of a person beside the operator.
public struct TrailEntry: Sendable, Hashable {
    public enum Action: String, Sendable, Hashable, CaseIterable {
        case replay, discard, resolve, forget
    }

    public static let schemaVersion = 1

    public var action: Action
    public var at: Timestamp
    /// `user@host`.
    public var by: String
    public var reason: String?
    public var requestID: String?
    public var org: String?
    public var command: String?
    /// What the dead letter said.
    public var outcome: String?
    public var failure: String?
    public var deadLetteredAt: Timestamp?
    /// The `message_id` of the dead letter.
    public var deadLetterID: String?
    /// The count under which it was replayed or resolved.
    public var replay: Int?
    public var acceptsDuplicate: Bool?
    public var deadline: Timestamp?
    /// As what it was resolved.
    public var resolvedAs: String?

    public init(
        _ action: Action, _ letter: DeadLetter, at: Timestamp, by: String, reason: String?, replay: Int? = nil,
        terms: ReplayTerms? = nil, resolvedAs: String? = nil
    ) {
        self.action = action
        self.at = at
        self.by = by
        self.reason = reason
        self.replay = replay
        self.resolvedAs = resolvedAs
        requestID = letter.requestID
        org = letter.org
        command = letter.command
        outcome = letter.outcome
        failure = letter.reason
        deadLetteredAt = letter.deadLetteredAt
        deadLetterID = letter.message.properties.messageID
        acceptsDuplicate = terms.map(\.acceptsDuplicate)
        deadline = terms?.deadline
    }

    /// Says that a dead letter was removed because its person wanted to be forgotten: nothing of it that its publisher put
    /// into words of their own.
    public static func forget(_ letter: DeadLetter, of org: OrgID, at: Timestamp, by: String, reason: String?) -> Self {
        var entry = TrailEntry(.forget, letter, at: at, by: by, reason: reason)
        entry.requestID = entry.requestID.flatMap { RequestID($0)?.description }
        entry.org = org.description
        entry.command = entry.command.flatMap { CommandKind(rawValue: $0)?.rawValue }
        // The publisher's own, where the worker could not write the dead letter.
        if letter.outcome == nil { entry.deadLetterID = nil }
        return entry
    }

    /// As it is published.
    public func message() -> Message {
        let properties = MessageProperties(
            contentType: "application/json", deliveryMode: 2, messageID: UUID().uuidString.lowercased(),
            timestamp: at.amqp, type: "audit.\(action.rawValue)")
        return Message(properties: properties, body: Array(DeadLetterJSON.text(object).utf8))
    }

    public var object: [String: Any] {
        var object: [String: Any] = [
            "schemaVersion": Self.schemaVersion, "action": action.rawValue, "at": at.rfc3339, "by": by,
        ]
        object["reason"] = reason
        object["requestId"] = requestID
        object["org"] = org
        object["command"] = command
        object["outcome"] = outcome
        object["failure"] = failure
        object["deadLetteredAt"] = deadLetteredAt?.rfc3339
        object["deadLetterId"] = deadLetterID
        object["replay"] = replay
        object["acceptsDuplicate"] = acceptsDuplicate
        object["deadline"] = deadline?.rfc3339
        object["resolvedAs"] = resolvedAs
        return object
    }

    /// - Returns: `nil` for a message that is no entry of a version that this one reads.
    public init?(_ message: Message) {
        guard let object = try? JSONSerialization.jsonObject(with: Data(message.body)) as? [String: Any],
            let action = (object["action"] as? String).flatMap(Action.init(rawValue:)),
            let at = (object["at"] as? String).flatMap({ Timestamp(rfc3339: $0) }), let by = object["by"] as? String
        else { return nil }
        func time(_ key: String) -> Timestamp? { (object[key] as? String).flatMap { Timestamp(rfc3339: $0) } }
        self.action = action
        self.at = at
        self.by = by
        reason = object["reason"] as? String
        requestID = object["requestId"] as? String
        org = object["org"] as? String
        command = object["command"] as? String
        outcome = object["outcome"] as? String
        failure = object["failure"] as? String
        deadLetteredAt = time("deadLetteredAt")
        deadLetterID = object["deadLetterId"] as? String
        replay = object["replay"] as? Int
        acceptsDuplicate = object["acceptsDuplicate"] as? Bool
        deadline = time("deadline")
        resolvedAs = object["resolvedAs"] as? String
    }
}
