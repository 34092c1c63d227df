// Invalid commands: every rule with its reason and code, and what stays known of the message.

import AMQPMessage
import Testing

@testable import RoutingContract

@Suite struct InvalidCommandTests {
    /// What one header makes of an otherwise valid command.
    @Test(
        arguments: [
            ("Command", .string("Route"), "command-unknown", nil), ("Command", .int64(1), "command-unknown", nil),
            ("RequestId", .string("abc"), "request-id-malformed", 10016),
            ("RequestId", .int64(7), "request-id-malformed", 10016),
            ("RequestId", .table(["a": .void]), "request-id-malformed", 10016),
            ("RequestId", .void, "request-id-missing", 10016),
            ("RequestId", .malformedString([0xFF]), "request-id-malformed", 10016),
            ("RequestId", .bytes([0xFF]), "request-id-malformed", 10016),
            ("RequestId", .string(Sample.request + "\r\n"), "request-id-malformed", 10016),
            ("OrgId", .void, "org-missing", 10016), ("OrgId", .string("nobody"), "org-unknown", 10016),
            ("OrgId", .string("00Dxx0000000009"), "org-unknown", 10016), ("OrgId", .array([]), "org-malformed", 10016),
            ("AuthorizationContext", .void, "context-missing", 10016),
            ("AuthorizationContext", .string(""), "context-malformed", 10016),
            ("AuthorizationContext", .string("A\r\nHost: evil"), "context-malformed", 10016),
            ("AuthorizationContext", .string("A\u{0}"), "context-malformed", 10016),
            ("AuthorizationContext", .string("é"), "context-malformed", 10016),
            ("AuthorizationContext", .string(" A"), "context-malformed", 10016),
            ("AuthorizationContext", .double(1), "context-malformed", 10016),
            ("AuthorizationContext", .string(String(repeating: "a", count: 256)), "context-malformed", 10016),
            ("AuthorizationContextType", .string("A\nB"), "context-type-malformed", 10016),
            ("AuthorizationContextType", .boolean(true), "context-type-malformed", 10016),
            ("IssuedAt", .string("yesterday"), "issued-at-malformed", nil),
            ("IssuedAt", .table(FieldTable()), "issued-at-malformed", nil),
            ("IssuedAt", .string("2026-03-01T12:05:00.001Z"), "issued-in-future", nil),
            ("IssuedAt", .uint64(.max), "issued-in-future", nil),
            ("Deadline", .string("soon"), "deadline-malformed", nil),
            ("Deadline", .double(1.5), "deadline-malformed", nil),
            ("Deadline", .malformedString([0xC0]), "deadline-malformed", nil),
        ] as [(String, FieldValue, String, Int?)])
    func refusesHeaders(_ name: String, _ value: FieldValue, _ reason: String, _ code: Int?) {
        guard case .failure(let invalid) = Sample.decode(Sample.message(Sample.route, [name: value])) else {
            Issue.record("accepted \(name): \(value)")
            return
        }
        #expect(invalid.error.reason == reason)
        #expect(invalid.error.code == code)
        #expect(!invalid.error.message.isEmpty && invalid.error.message.utf8.count < 500)
        #expect(invalid.error.message.utf8.allSatisfy { $0 >= 0x20 })
        #expect(InvalidReason(rawValue: reason) != nil)
        // What the header did not spoil is known.
        #expect(invalid.conversation == Sample.conversation)
        #expect((invalid.kind == .route) == (name != "Command"))
        #expect((invalid.request != nil) == (name != "RequestId"))
        if name != "OrgId" { #expect(invalid.org?.description == Sample.org) }
    }

    @Test(
        arguments: [
            ("", "body-missing", 10100), (" ", "body-malformed", nil), ("{", "body-malformed", nil),
            ("[]", "body-not-object", 10089),
            ("\"text\"", "body-not-object", 10089), ("{}", "conversation-missing", 10018),
            (#"{"conversationIdentifier":null,"routingType":"Initial"}"#, "conversation-missing", 10018),
            (#"{"conversationIdentifier":1,"routingType":"Initial"}"#, "conversation-malformed", 10018),
            (#"{"conversationIdentifier":"","routingType":"Initial"}"#, "conversation-malformed", 10018),
            (#"{"conversationIdentifier":"a\u0000","routingType":"Initial"}"#, "conversation-malformed", 10018),
            (
                #"{"conversationIdentifier":"\#(String(repeating: "c", count: 256))","routingType":"Initial"}"#,
                "conversation-malformed", 10018
            ),
            (#"{"conversationIdentifier":"c"}"#, "routing-type-missing", 10089),
            (#"{"conversationIdentifier":"c","routingType":null}"#, "routing-type-missing", 10089),
            (#"{"conversationIdentifier":"c","routingType":1}"#, "routing-type-malformed", 10089),
            (#"{"conversationIdentifier":"c","routingType":""}"#, "routing-type-malformed", 10089),
            (
                #"{"conversationIdentifier":"c","routingType":"Initial","routingType":"Transfer"}"#, "body-malformed",
                nil
            ),
        ] as [(String, String, Int?)])
    func refusesBodies(_ body: String, _ reason: String, _ code: Int?) {
        expectInvalid(body, reason, code)
    }

    @Test(arguments: [
        ("[]", "routing-info-malformed", 10089), ("\"\"", "routing-info-malformed", 10089),
        (#"{"flow":{"flowId":"300x","queueId":"00Gx"},"queueId":"00Gx"}"#, "flow-and-queue", 10030),
        (#"{"flow":{},"queueId":""}"#, "flow-and-queue", 10030),
        (#"{"flow":{"queueId":"00Gx"}}"#, "flow-incomplete", 10024),
        (#"{"flow":{"flowId":"300x"}}"#, "flow-incomplete", 10024),
        (#"{"flow":{"flowId":"300x","queueId":""}}"#, "flow-incomplete", 10024),
        (#"{"flow":"300x"}"#, "flow-incomplete", 10024),
        (#"{"flow":{"flowId":1,"queueId":"00Gx"}}"#, "flow-incomplete", 10024),
        (#"{"queueId":5}"#, "queue-malformed", 10032),
        (#"{"queueId":""}"#, "queue-malformed", 10032),
    ])
    func refusesRoutingInfo(_ info: String, _ reason: String, _ code: Int) {
        expectInvalid(#"{"conversationIdentifier":"c","routingType":"Initial","routingInfo":\#(info)}"#, reason, code)
    }

    @Test(arguments: [
        "null", "{}", #"{"queueId":"nonsense"}"#, #"{"queueId":null,"flow":{"flowId":"x","queueId":"y","new":1}}"#,
        #"{"flow":null,"queueId":"00G","routingAttributes":{"a":1}}"#, #"{"future":[{}]}"#,
    ])
    func leavesTheRestToSalesforce(_ info: String) {
        let body = #"{"conversationIdentifier":"c","routingType":"Future","routingInfo":\#(info),"more":true}"#
        #expect(Sample.decode(Sample.message(body)).reason == nil)
        #expect(Sample.decode(Sample.message(body), orgs: Sample.directory(.strict)).reason != nil)
    }

    @Test(arguments: [
        (#""routingType":"Future""#, "routing-type-malformed", 10089),
        (#""routingType":"Initial","more":1"#, "field-unknown", 10089),
        (#""routingType":"Initial","routingInfo":{"more":1}"#, "field-unknown", 10089),
        (#""routingType":"Initial","routingInfo":{"queueId":"00Gxx000000001"}"#, "queue-malformed", 10032),
        (#""routingType":"Initial","routingInfo":{"queueId":"300xx0000000001"}"#, "queue-malformed", 10032),
        (#""routingType":"Initial","routingInfo":{"queueId":"00Gxx0000000001AAA"}"#, "queue-malformed", 10032),
        (
            #""routingType":"Initial","routingInfo":{"flow":{"flowId":"00Gxx0000000001","queueId":"00Gxx0000000001"}}"#,
            "flow-malformed", 10024
        ),
        (
            #""routingType":"Initial","routingInfo":{"flow":{"flowId":"300xx0000000001","queueId":"x"}}"#,
            "queue-malformed", 10032
        ),
        (
            #""routingType":"Initial","routingInfo":{"flow":{"flowId":"300xx0000000001","queueId":"00Gxx0000000001","x":1}}"#,
            "field-unknown", 10089
        ),
        (
            #""routingType":"Initial","routingInfo":{"routingAttributes":{"a":1}}"#, "routing-attributes-malformed",
            10089
        ),
        (#""routingType":"Initial","routingInfo":{"routingAttributes":[]}"#, "routing-attributes-malformed", 10089),
    ])
    func isStricterWhenAsked(_ fields: String, _ reason: String, _ code: Int) {
        let body = #"{"conversationIdentifier":"c",\#(fields)}"#
        expectInvalid(body, reason, code, orgs: Sample.directory(.strict))
        #expect(Sample.decode(Sample.message(body)).reason == nil)
    }

    @Test(arguments: [
        #""routingType":"Conference""#, #""routingType":"Initial","routingInfo":null"#,
        #""routingType":"Initial","routingInfo":{"queueId":"00Gxx0000000001EAA"}"#,
        #""routingType":"Transfer","routingInfo":{"flow":{"flowId":"300xx0000000001","queueId":"00Gxx0000000001"},"routingAttributes":{"a":"b"}}"#,
    ])
    func acceptsTheStrictlyValid(_ fields: String) {
        let body = #"{"conversationIdentifier":"c",\#(fields)}"#
        #expect(Sample.decode(Sample.message(body), orgs: Sample.directory(.strict)).reason == nil)
    }

    @Test func checksHeadersAndDeletesStrictly() {
        let strict = Sample.directory(.strict)
        func reason(_ name: String, _ value: String) -> String? {
            Sample.decode(Sample.message(Sample.route, [name: .string(value)]), orgs: strict).reason
        }
        #expect(reason("OrgId", "00Dxx0000001gPLEAY") == nil)
        #expect(reason("OrgId", "00Dxx0000001gPLEAX") == "org-malformed")
        #expect(reason("AuthorizationContextType", "EmbeddedMessagingChannel") == nil)
        #expect(reason("AuthorizationContextType", "Future") == "context-type-malformed")
        func delete(_ fields: String, _ orgs: OrgDirectory = strict) -> String? {
            Sample.decode(Sample.message(#"{"conversationIdentifier":"c"\#(fields)}"#, type: "delete"), orgs: orgs)
                .reason
        }
        #expect(delete("") == nil)
        #expect(delete(#","cancelReason":"Decline""#) == nil)
        #expect(delete(#","cancelReason":"UNAVAILABLE""#) == nil)
        #expect(delete(#","cancelReason":"Bored""#) == "cancel-reason-malformed")
        #expect(delete(#","cancelReason":1"#) == "cancel-reason-malformed")
        #expect(delete(#","routingType":"Initial""#) == "field-unknown")
        #expect(delete(#","cancelReason":"Bored","x":1"#, Sample.directory()) == nil)
    }

    @Test func refusesProperties() {
        func reason(_ change: (inout MessageProperties) -> Void) -> String? {
            var message = Sample.message()
            change(&message.properties)
            return Sample.decode(message).reason
        }
        #expect(reason { $0.type = nil } == "command-missing")
        #expect(reason { $0.type = "routes" } == "command-unknown")
        #expect(reason { $0.contentEncoding = "gzip" } == "content-encoding-unsupported")
        #expect(reason { $0.correlationID = String(repeating: "c", count: 256) } == "correlation-id-too-long")
        #expect(reason { $0.correlationID = String(repeating: "c", count: 255) } == nil)
        #expect(reason { $0.timestamp = .max } == "issued-in-future")
        #expect(reason { $0.replyTo = "routing.commands" } == "reply-not-allowed")
        #expect(
            reason {
                $0.headers["RequestId"] = nil
                $0.messageID = "17"
            } == "request-id-malformed")
    }

    @Test func refusesOrgsThatTheQueueIsNotFor() {
        let result = Sample.decode(Sample.message(), queue: QueueDefaults(allowedOrgs: ["other"]))
        #expect(result.reason == "org-not-allowed")
    }

    @Test func refusesBodiesBySizeBeforeReadingThem() {
        var message = Sample.message()
        message.body = [UInt8](repeating: 0x5B, count: 10 * 1024 * 1024)
        guard case .failure(let invalid) = Sample.decode(message) else {
            Issue.record("accepted")
            return
        }
        #expect(invalid.error.reason == "body-too-large")
        #expect(invalid.request?.description == Sample.request)
        message.properties.contentType = "application/cloudevents+json"
        #expect(Sample.decode(message).reason == "body-too-large")
    }

    @Test func survivesHostileBodies() {
        var rules = DecodingRules()
        rules.maximumBodyBytes = 16 << 20
        let bodies: [[UInt8]] = [
            [0xFF, 0xFE], [0x00], Array(String(repeating: "[", count: 10_000).utf8),
            Array(String(repeating: #"{"a":"#, count: 10_000).utf8),
            Array(("{" + (0..<100_000).map { "\"k\($0)\":\($0)" }.joined(separator: ",") + "}").utf8),
            Array(#"{"conversationIdentifier":"a","conversationIdentifier":"b"}"#.utf8),
            Array("{\"a\":\"\u{FFFD}".utf8) + [0xC3, 0x28],
        ]
        for body in bodies {
            var message = Sample.message()
            message.body = body
            guard case .failure(let invalid) = Sample.decode(message, rules: rules) else {
                Issue.record("accepted \(body.prefix(20))")
                continue
            }
            #expect(["body-malformed", "conversation-missing"].contains(invalid.error.reason))
            #expect(invalid.kind == .route && invalid.request != nil && invalid.org != nil)
        }
    }

    @Test func survivesHostileHeaders() {
        let everyType: [FieldValue] = [
            .void, .boolean(true), .int8(-1), .uint8(1), .int16(-1), .uint16(1), .int32(-1), .uint32(1), .int64(.min),
            .uint64(.max),
            .float(.nan), .double(.infinity), .decimal(scale: 255, value: .max), .string(""), .malformedString([0xFF]),
            .bytes([0]),
            .timestamp(.max), .array([.void]), .table(["": .table(FieldTable())]),
        ]
        let names = [
            "", "Command", "RequestId", "OrgId", "AuthorizationContext", "AuthorizationContextType", "IssuedAt",
            "Deadline", "traceparent",
            "tracestate", "Replay", "Accept-Duplicate", "cloudEvents_id", "cloudEvents:type", "cloudEvents_specversion",
            "cloudEvents_", "x-death",
        ]
        var rules = DecodingRules()
        rules.honoursReplay = true
        for name in names {
            for value in everyType {
                let message = Sample.message(Sample.route, [name: value])
                if case .failure(let invalid) = Sample.decode(message, rules: rules) {
                    #expect(InvalidReason(rawValue: invalid.error.reason) != nil)
                }
            }
        }
        var nested = FieldValue.void
        for _ in 0..<2000 { nested = .table(["a": nested]) }
        #expect(Sample.decode(Sample.message(Sample.route, ["RequestId": nested])).reason == "request-id-malformed")
        var many = FieldTable((0..<20_000).map { FieldTable.Field("cloudEvents_\($0)", .int8(1)) })
        many.fields += Sample.message().properties.headers.fields
        let crowded = Message(
            properties: MessageProperties(headers: many, type: "route"), body: Array(Sample.route.utf8))
        #expect(Sample.decode(crowded).reason == "cloud-event-malformed")
    }

    @Test func survivesMutations() {
        var generator = SeededGenerator()
        var rules = DecodingRules()
        rules.honoursReplay = true
        var accepted = 0
        for round in 0..<4000 {
            var message = Sample.message(
                #"{"conversationIdentifier":"c","routingType":"Transfer","routingInfo":{"flow":{"flowId":"300","queueId":"00G"}}}"#,
                ["Deadline": .string("2026-03-01T13:00:00Z"), "IssuedAt": .string("1772366400000")])
            message.properties.replyTo = "amq.rabbitmq.reply-to.x"
            if round % 2 == 0 {
                mutate(&message.body, using: &generator)
            } else {
                let index = Int.random(in: 0..<message.properties.headers.fields.count, using: &generator)
                if case .string(let text) = message.properties.headers.fields[index].value {
                    var bytes = Array(text.utf8)
                    mutate(&bytes, using: &generator)
                    message.properties.headers.fields[index].value =
                        String(validating: bytes, as: UTF8.self).map { .string($0) } ?? .malformedString(bytes)
                }
            }
            let orgs = Sample.directory(round % 5 == 0 ? .strict : .lenient)
            switch Sample.decode(message, rules: rules, orgs: orgs) {
            case .success(let command):
                accepted += 1
                #expect(command.payload == message.body, "seed \(generator.seed), round \(round)")
                #expect(command.context.utf8.allSatisfy { (0x20...0x7E).contains($0) })
            case .failure(let invalid):
                #expect(InvalidReason(rawValue: invalid.error.reason) != nil, "seed \(generator.seed), round \(round)")
                #expect(invalid.reply.replyTo == "amq.rabbitmq.reply-to.x")
                // It can be told of, whatever it was.
                let subject = AnswerSubject(invalid, message: message)
                let result = CommandResult.invalid(
                    invalid, receivedAt: Sample.now, completedAt: Sample.now, worker: "w")
                let answer = AnswerEncoder().encode(result, about: subject, duplicate: false)
                #expect(throws: Never.self) { try JSONScanner().scan(answer.body) }
            }
        }
        #expect(accepted > 100)
    }

    private func expectInvalid(
        _ body: String, _ reason: String, _ code: Int?, orgs: OrgDirectory = Sample.directory(),
        sourceLocation: SourceLocation = #_sourceLocation
    ) {
        guard case .failure(let invalid) = Sample.decode(Sample.message(body), orgs: orgs) else {
            Issue.record("accepted", sourceLocation: sourceLocation)
            return
        }
        #expect(invalid.error.reason == reason, sourceLocation: sourceLocation)
        #expect(invalid.error.code == code, sourceLocation: sourceLocation)
        #expect(InvalidReason(rawValue: reason) != nil, sourceLocation: sourceLocation)
        #expect(invalid.request?.description == Sample.request, sourceLocation: sourceLocation)
        #expect(invalid.org?.description == Sample.org, sourceLocation: sourceLocation)
    }
}
