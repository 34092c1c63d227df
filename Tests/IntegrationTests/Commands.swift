// Commands of tests, and what tests look at in messages.

import AMQPMessage
import CommandClient
import Foundation
import RoutingContract

/// A new RequestId, or conversation identifier.
func newID() -> String { UUID().uuidString.lowercased() }

extension CommandSpec {
    /// - Parameters:
    ///   - issuedAt: seconds from now.
    ///   - deadline: seconds from now.
    static func route(
        _ conversation: String = newID(), type: String = "Initial", org: String = "acme", id: String = newID(),
        issuedAt: Double? = nil, deadline: Double? = nil
    ) -> CommandSpec {
        CommandSpec(
            kind: "route", requestID: id, org: org, issuedAt: issuedAt.map(Self.moment),
            deadline: deadline.map(Self.moment),
            payload: Array(#"{"conversationIdentifier":"\#(conversation)","routingType":"\#(type)"}"#.utf8))
    }

    static func delete(
        _ conversation: String, org: String = "acme", id: String = newID(), issuedAt: Double? = nil
    ) -> CommandSpec {
        CommandSpec(
            kind: "delete", requestID: id, org: org, issuedAt: issuedAt.map(Self.moment),
            payload: Array(#"{"conversationIdentifier":"\#(conversation)"}"#.utf8))
    }

    /// The same command for another place.
    func replying(to queue: String? = nil, correlationID: String? = nil) -> CommandSpec {
        var spec = self
        spec.message.properties.replyTo = queue
        spec.message.properties.correlationID = correlationID
        return spec
    }

    var id: String { requestID ?? "" }

    private static func moment(_ secondsFromNow: Double) -> FieldValue {
        .int64(Int64((Date().timeIntervalSince1970 + secondsFromNow) * 1000))
    }
}

extension Message {
    /// A header that is text.
    func text(_ header: String) -> String? {
        if case .string(let text) = properties.headers[header] { text } else { nil }
    }

    var requestID: String? { text(HeaderName.requestID) }
    var outcome: String? { text(HeaderName.outcome) }
    var reason: String? { text(HeaderName.reason) }
}
