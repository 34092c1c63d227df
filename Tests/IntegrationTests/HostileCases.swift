// Messages that break the contract, each with what must be said of it: bodies, ids and the other parts of a command.

import AMQPMessage
import Foundation
import RoutingContract

/// A message, and how its command must end.
struct HostileCase: Sendable {
    /// Also its `app_id`, which a dead letter keeps, and its `correlation_id` unless it has another.
    let name: String
    var message: Message
    let outcome: Outcome
    let reason: String

    /// - Parameter change: what makes a valid route hostile.
    init(
        _ name: String, _ reason: String, outcome: Outcome = .invalid, of stage: HostileStage,
        _ change: (inout Message) -> Void
    ) {
        self.name = name
        self.reason = reason
        self.outcome = outcome
        message = HostileStage.validRoute()
        message.properties.appID = name
        message.properties.correlationID = name
        change(&message)
    }
}

extension HostileStage {
    /// A valid route with another body.
    private func body(_ name: String, _ reason: String, _ body: [UInt8]) -> HostileCase {
        HostileCase(name, reason, of: self) { $0.body = body }
    }

    private func body(_ name: String, _ reason: String, _ text: String) -> HostileCase {
        body(name, reason, Array(text.utf8))
    }

    var bodyCases: [HostileCase] {
        let nested = { (count: Int, open: String, close: String) in
            String(repeating: open, count: count) + String(repeating: close, count: count)
        }
        let keys = (0..<100_000).map { #""key-\#($0)":0"# }.joined(separator: ",")
        let text = { (bytes: [UInt8]) in Array(#"{"conversationIdentifier":""#.utf8) + bytes + Array(#""}"#.utf8) }
        return [
            body("empty body", "body-missing", ""),
            body("white space", "body-malformed", " \r\n\t "),
            body("10 MB", "body-too-large", Array(#"{"a":""#.utf8) + Array(repeating: 0x61, count: 10 << 20)),
            body("10,000 arrays", "body-malformed", nested(10_000, "[", "]")),
            body("10,000 objects", "body-malformed", nested(10_000, #"{"a":"#, "0}")),
            body("10,000 open arrays", "body-malformed", String(repeating: "[", count: 10_000)),
            body("100,000 keys, one twice", "body-malformed", #"{\#(keys),"key-0":0}"#),
            body("duplicate key", "body-malformed", #"{"conversationIdentifier":"a","conversationIdentifier":"b"}"#),
            body(
                "duplicate key by escape", "body-malformed", #"{"routingType":"Initial","\u0072outingType":"Initial"}"#),
            body("UTF-8 cut off", "body-malformed", text([0xE2, 0x82])),
            body("UTF-8 overlong", "body-malformed", text([0xC0, 0x80])),
            body("UTF-8 surrogate", "body-malformed", text([0xED, 0xA0, 0x80])),
            body("UTF-8 beyond Unicode", "body-malformed", text([0xF4, 0x90, 0x80, 0x80])),
            body("UTF-8 stray byte", "body-malformed", text([0xFF])),
            body("UTF-16", "body-malformed", [0xFF, 0xFE] + "{}".utf16.flatMap { [UInt8($0), 0] }),
            body("byte order mark", "body-malformed", [0xEF, 0xBB, 0xBF] + Array("{}".utf8)),
            body("NUL", "body-malformed", [0]),
            body("control character", "body-malformed", text([0x0D, 0x0A])),
            body("lone surrogate escape", "body-malformed", #"{"conversationIdentifier":"\ud800"}"#),
            body("unclosed", "body-malformed", #"{"conversationIdentifier":"a""#),
            body("more than one", "body-malformed", "{}{}"),
            body("NaN", "body-malformed", #"{"a":NaN}"#),
            body("leading zero", "body-malformed", #"{"a":01}"#),
            body("comment", "body-malformed", "/* */{}"),
            body("gzip", "body-malformed", [0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 3]),
            body("XML", "body-malformed", "<!DOCTYPE x [<!ENTITY y \"y\">]><x>&y;</x>"),
            body("array", "body-not-object", "[]"),
            body("string", "body-not-object", #""route""#),
            body("number", "body-not-object", "1e99999999999999999999"),
            body("null", "body-not-object", "null"),
        ]
    }

    var payloadCases: [HostileCase] {
        let route = { (conversation: String) in #"{"conversationIdentifier":\#(conversation),"routingType":"Initial"}"#
        }
        let info = { (info: String) in
            #"{"conversationIdentifier":"c","routingType":"Initial","routingInfo":\#(info)}"#
        }
        return [
            body("no conversation", "conversation-missing", #"{"routingType":"Initial"}"#),
            body("conversation null", "conversation-missing", route("null")),
            body("conversation number", "conversation-malformed", route("1")),
            body("conversation array", "conversation-malformed", route(#"["c"]"#)),
            body("conversation empty", "conversation-malformed", route(#""""#)),
            body("conversation with CR LF", "conversation-malformed", route(#""c\r\nX-Forged: 1""#)),
            body("conversation with NUL", "conversation-malformed", route(#""c\u0000""#)),
            body("conversation enormous", "conversation-malformed", route("\"\(String(repeating: "c", count: 256))\"")),
            body("no routingType", "routing-type-missing", #"{"conversationIdentifier":"c"}"#),
            body("routingType object", "routing-type-malformed", #"{"conversationIdentifier":"c","routingType":{}}"#),
            body("routingInfo string", "routing-info-malformed", info(#""queue""#)),
            body("flow and queue", "flow-and-queue", info(#"{"flow":{},"queueId":"00G000000000001"}"#)),
            body("flow without queue", "flow-incomplete", info(#"{"flow":{"flowId":"300000000000001"}}"#)),
            body("flow array", "flow-incomplete", info(#"{"flow":["300000000000001"]}"#)),
            body("queue number", "queue-malformed", info(#"{"queueId":1}"#)),
        ]
    }

    /// One header with another value; `nil` removes it.
    private func header(
        _ name: String, _ reason: String, _ key: String, _ value: FieldValue?, outcome: Outcome = .invalid
    ) -> HostileCase {
        HostileCase(name, reason, outcome: outcome, of: self) { $0.properties.headers[key] = value }
    }

    var attributeCases: [HostileCase] {
        let long = String(repeating: "a", count: 100_000)
        return [
            HostileCase("no command", "command-missing", of: self) { $0.properties.type = nil },
            HostileCase("type unknown", "command-unknown", of: self) { $0.properties.type = "reroute" },
            HostileCase("type in capitals", "command-unknown", of: self) { $0.properties.type = "ROUTE" },
            header("Command unknown", "command-unknown", "Command", .string("route\r\n")),
            header("Command number", "command-unknown", "command", .int64(1)),
            header("no RequestId", "request-id-missing", "RequestId", nil),
            header("RequestId void", "request-id-missing", "RequestId", .void),
            header("RequestId empty", "request-id-malformed", "RequestId", .string("")),
            header("RequestId no UUID", "request-id-malformed", "RequestId", .string("not-a-uuid")),
            header(
                "RequestId with CR LF", "request-id-malformed", "RequestId",
                .string("00000000-0000-4000-8000-00000000000\r\nX-Forged: 1")),
            header("RequestId enormous", "request-id-malformed", "RequestId", .string(long)),
            header("RequestId table", "request-id-malformed", "RequestId", .table(["a": .void])),
            header("RequestId not UTF-8", "request-id-malformed", "RequestId", .malformedString([0xFF, 0xFE])),
            HostileCase("message_id no UUID", "request-id-malformed", of: self) {
                $0.properties.headers["RequestId"] = nil
                $0.properties.messageID = String(repeating: "é", count: 127)
            },
            header("no OrgId", "org-missing", "OrgId", nil),
            header("OrgId unknown", "org-unknown", "OrgId", .string("00D000000000009AAA")),
            header("OrgId with CR LF", "org-unknown", "OrgId", .string("acme\r\nAuthorization: x")),
            header("OrgId enormous", "org-unknown", "OrgId", .string(long)),
            header("OrgId array", "org-malformed", "OrgId", .array([.string("acme")])),
            header("context with CR LF", "context-malformed", "AuthorizationContext", .string("a\r\nX-Forged: 1")),
            header("context with LF", "context-malformed", "AuthorizationContext", .string("a\nb")),
            header("context with NUL", "context-malformed", "AuthorizationContext", .string("a\0b")),
            header("context empty", "context-malformed", "AuthorizationContext", .string("")),
            header("context not ASCII", "context-malformed", "AuthorizationContext", .string("Kanał")),
            header("context enormous", "context-malformed", "AuthorizationContext", .string(long)),
            header("context decimal", "context-malformed", "AuthorizationContext", .decimal(scale: 9, value: 1)),
            header("context type with CR", "context-type-malformed", "AuthorizationContextType", .string("a\rb")),
            header("context type boolean", "context-type-malformed", "AuthorizationContextType", .boolean(true)),
            header("IssuedAt nonsense", "issued-at-malformed", "IssuedAt", .string("yesterday")),
            header("IssuedAt array", "issued-at-malformed", "IssuedAt", .array([])),
            header("IssuedAt far ahead", "issued-in-future", "IssuedAt", .int64(.max)),
            header("IssuedAt far ahead in seconds", "issued-in-future", "IssuedAt", .timestamp(.max >> 1)),
            header("IssuedAt year 9999", "issued-in-future", "IssuedAt", .string("9999-12-31T23:59:60Z")),
            header("IssuedAt long ago", "older-than-retention", "IssuedAt", .int64(.min), outcome: .expired),
            HostileCase("timestamp far ahead", "issued-in-future", of: self) { $0.properties.timestamp = .max >> 1 },
            header("Deadline nonsense", "deadline-malformed", "Deadline", .string("2026-13-01T00:00:00Z")),
            header("Deadline boolean", "deadline-malformed", "Deadline", .boolean(false)),
            header("Deadline long ago", "deadline-passed", "Deadline", .int64(.min), outcome: .expired),
            HostileCase("encoding gzip", "content-encoding-unsupported", of: self) {
                $0.properties.contentEncoding = "gzip"
            },
            HostileCase("encoding with CR LF", "content-encoding-unsupported", of: self) {
                $0.properties.contentEncoding = "utf-8\r\n"
            },
        ]
    }

    var replyCases: [HostileCase] {
        let reply = { (name: String, address: String) in
            HostileCase(name, "reply-not-allowed", of: self) { $0.properties.replyTo = address }
        }
        return [
            reply("reply elsewhere", "somebody.elses.queue"),
            reply("reply of 255 bytes", String(repeating: "q", count: 255)),
            reply("reply to commands", commands),
            reply("reply to dead letters", harness.deadLetters),
            reply("reply with CR LF", replies + "\r\n"),
            reply("reply to nobody directly", "amq.rabbitmq.reply-to."),
            reply("reply by trace", "amq.rabbitmq.trace"),
            HostileCase("reply to a missing queue", "answer-unroutable", of: self) {
                $0.properties.replyTo = Self.replyPrefix + "nobody"
                $0.body = []
            },
        ]
    }
}
