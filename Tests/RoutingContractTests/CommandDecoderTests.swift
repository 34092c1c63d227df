// Valid commands: where each value is taken from, and what it becomes.

import AMQPMessage
import Testing

@testable import RoutingContract

@Suite struct CommandDecoderTests {
    @Test func readsAPlainCommand() throws {
        var message = Sample.message()
        message.properties.correlationID = "c-1"
        message.properties.replyTo = "amq.rabbitmq.reply-to.g1h2"
        message.properties.headers["traceparent"] = .string(Sample.traceparent)
        message.properties.headers["tracestate"] = .string("vendor=1")
        message.properties.headers["AuthorizationContextType"] = .string("ConversationChannelDefinition")
        let command = try Sample.decode(message).get()
        #expect(command.key.kind == .route)
        #expect(command.key.org.description == Sample.org)
        #expect(command.key.request.description == Sample.request)
        #expect(command.context == "Partner1_Channel1")
        #expect(command.contextType == "ConversationChannelDefinition")
        #expect(command.conversation == Sample.conversation)
        #expect(command.routingType == "Initial")
        #expect(command.payload == Array(Sample.route.utf8))
        #expect(command.reply.replyTo == "amq.rabbitmq.reply-to.g1h2")
        #expect(command.reply.correlationID == "c-1")
        #expect(command.reply.trace == TraceContext(traceparent: Sample.traceparent, tracestate: "vendor=1"))
        #expect(command.issuedAt == nil)
        #expect(command.deadline == nil)
        #expect(command.replay == 0)
    }

    @Test func readsADelete() throws {
        let command = try Sample.decode(Sample.message(Sample.delete, type: "delete")).get()
        #expect(command.key.kind == .delete)
        #expect(command.routingType == nil)
    }

    @Test func prefersHeadersToProperties() throws {
        var message = Sample.message(Sample.delete, type: "route", ["Command": .string("delete")])
        message.properties.messageID = "framework-1"
        message.properties.timestamp = 1
        message.properties.headers["IssuedAt"] = .string("2026-03-01T11:59:00Z")
        let command = try Sample.decode(message).get()
        #expect(command.key.kind == .delete)
        #expect(command.key.request.description == Sample.request)
        #expect(command.issuedAt == Timestamp(rfc3339: "2026-03-01T11:59:00Z"))
    }

    @Test func fallsBackToPropertiesAndDefaults() throws {
        let properties = MessageProperties(
            messageID: Sample.request.uppercased(), timestamp: 1_772_366_000, type: "route")
        let message = Message(properties: properties, body: Array(Sample.route.utf8))
        let command = try Sample.decode(message, queue: QueueDefaults(org: "acme", context: "Queue_Channel")).get()
        #expect(command.key.request.description == Sample.request)
        #expect(command.key.org.description == Sample.org)
        #expect(command.context == "Queue_Channel")
        #expect(command.issuedAt == Timestamp(milliseconds: 1_772_366_000_000))

        let other = try Sample.decode(message, queue: QueueDefaults(org: "00Dxx0000000002")).get()
        #expect(other.context == "Other_Channel")
    }

    @Test func matchesHeaderNamesInAnyCase() throws {
        let headers: FieldTable = [
            "REQUESTID": .string(Sample.request), "orgid": .string("acme"), "authorizationCONTEXT": .string("A_B"),
            "command": .string("route"), "ISSUEDAT": .int64(1_772_366_000_123), "deadLine": .timestamp(1_772_366_460),
            "TraceParent": .string(Sample.traceparent), "authorizationcontexttype": .string("Future"),
        ]
        let command = try Sample.decode(
            Message(properties: MessageProperties(headers: headers), body: Array(Sample.route.utf8))
        ).get()
        #expect(command.context == "A_B")
        #expect(command.contextType == "Future")
        #expect(command.issuedAt == Timestamp(milliseconds: 1_772_366_000_123))
        #expect(command.deadline == Timestamp(milliseconds: 1_772_366_460_000))
        #expect(command.reply.trace.traceparent == Sample.traceparent)
    }

    @Test func takesTheFirstOfRepeatedHeaders() throws {
        var message = Sample.message()
        message.properties.headers.fields.append(FieldTable.Field("requestid", .string("nonsense")))
        message.properties.headers.fields.insert(FieldTable.Field("orgId", .void), at: 0)
        let command = try Sample.decode(message).get()
        #expect(command.key.request.description == Sample.request)
        #expect(command.key.org.description == Sample.org)
    }

    @Test(arguments: [FieldValue.bytes(Array(Sample.request.utf8)), .string(Sample.request.uppercased())])
    func readsARequestIDFrom(_ value: FieldValue) throws {
        let command = try Sample.decode(Sample.message(Sample.route, ["RequestId": value])).get()
        #expect(command.key.request.description == Sample.request)
    }

    @Test(arguments: ["acme", Sample.org, "00Dxx0000001gPLEAY", "00Dxx0000001gPLXXX"])
    func findsTheOrgBy(_ name: String) throws {
        let command = try Sample.decode(Sample.message(Sample.route, ["OrgId": .string(name)])).get()
        #expect(command.key.org.description == Sample.org)
    }

    @Test func allowsOrgsByAliasAndByID() throws {
        for allowed in ["acme", Sample.org, "00Dxx0000001gPLEAY"] {
            #expect(
                try Sample.decode(Sample.message(), queue: QueueDefaults(allowedOrgs: [allowed])).get().context != "")
        }
    }

    @Test(
        arguments: [
            (FieldValue.string("2026-03-01T12:00:00.250Z"), 1_772_366_400_250),
            (.string("1772366400250"), 1_772_366_400_250),
            (.int64(1_772_366_400_250), 1_772_366_400_250), (.uint64(5), 5), (.int32(-5), -5),
            (.timestamp(1_772_366_400), 1_772_366_400_000),
            (.bytes(Array("2026-03-01T13:00:00+01:00".utf8)), 1_772_366_400_000),
        ] as [(FieldValue, Int64)])
    func readsTimesFrom(_ value: FieldValue, _ milliseconds: Int64) throws {
        let command = try Sample.decode(Sample.message(Sample.route, ["IssuedAt": value, "Deadline": value])).get()
        #expect(command.issuedAt == Timestamp(milliseconds: milliseconds))
        #expect(command.deadline == Timestamp(milliseconds: milliseconds))
    }

    @Test func recognisesATimestampPropertyInMilliseconds() throws {
        var message = Sample.message()
        message.properties.timestamp = 1_772_366_400_250
        #expect(try Sample.decode(message).get().issuedAt == Timestamp(milliseconds: 1_772_366_400_250))
    }

    @Test(arguments: ["Transfer", "Conference"])
    func givesTransfersADeadline(_ routingType: String) throws {
        let body = #"{"conversationIdentifier":"c","routingType":"\#(routingType)"}"#
        // From the issue time, or else from receipt; the org's own time wins; a deadline that is given wins over all.
        #expect(try Sample.decode(Sample.message(body)).get().deadline == Sample.now + .seconds(40))
        let issued = Sample.message(body, ["IssuedAt": .string("2026-03-01T11:59:50Z")])
        #expect(try Sample.decode(issued).get().deadline == Sample.now + .seconds(30))
        let quick = OrgDirectory([KnownOrg(id: OrgID(Sample.org)!, alias: "acme", transferDeadline: .seconds(5))])
        #expect(try Sample.decode(Sample.message(body), orgs: quick).get().deadline == Sample.now + .seconds(5))
        let given = Sample.message(body, ["Deadline": .string("2026-03-01T13:00:00Z")])
        #expect(try Sample.decode(given).get().deadline == Sample.now + .seconds(3600))
    }

    @Test func ignoresReplayUnlessTold() throws {
        let replayed = Sample.message(Sample.route, ["Replay": .int32(2), "Accept-Duplicate": .string("TRUE")])
        let ignored = try Sample.decode(replayed).get()
        #expect(ignored.replay == 0 && !ignored.acceptsSecondEffect)
        var rules = DecodingRules()
        rules.honoursReplay = true
        let honoured = try Sample.decode(replayed, rules: rules).get()
        #expect(honoured.replay == 2 && honoured.acceptsSecondEffect)
        let onReplayQueue = try Sample.decode(replayed, queue: QueueDefaults(honoursReplay: true)).get()
        #expect(onReplayQueue.replay == 2 && onReplayQueue.acceptsSecondEffect)
        let text = Sample.message(Sample.route, ["Replay": .string("3"), "Accept-Duplicate": .boolean(false)])
        #expect(try Sample.decode(text, rules: rules).get().replay == 3)
        for wrong in [FieldValue.int8(-1), .string("many"), .int64(.max), .boolean(true)] {
            #expect(
                Sample.decode(Sample.message(Sample.route, ["Replay": wrong]), rules: rules).reason
                    == "replay-malformed")
            #expect(Sample.decode(Sample.message(Sample.route, ["Replay": wrong])).reason == nil)
        }
        let wrong = Sample.message(Sample.route, ["Accept-Duplicate": .int8(1)])
        #expect(Sample.decode(wrong, rules: rules).reason == "replay-malformed")
    }

    @Test(arguments: [
        "", "00", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
        "00-4BF92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
        "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01x",
        "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-\r\n",
        "00 4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    ])
    func dropsMalformedTraces(_ traceparent: String) throws {
        let message = Sample.message(Sample.route, ["traceparent": .string(traceparent), "tracestate": .string("a=1")])
        #expect(try Sample.decode(message).get().reply.trace == TraceContext())
    }

    @Test func dropsMalformedTraceStates() throws {
        for state in ["a=1\r\nX: y", String(repeating: "a", count: 513), " a=1", "a=é"] {
            let message = Sample.message(
                Sample.route, ["traceparent": .string(Sample.traceparent), "tracestate": .string(state)])
            #expect(try Sample.decode(message).get().reply.trace == TraceContext(traceparent: Sample.traceparent))
        }
        let later = "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more"
        let message = Sample.message(Sample.route, ["traceparent": .string(later), "tracestate": .int8(1)])
        #expect(try Sample.decode(message).get().reply.trace == TraceContext(traceparent: later))
    }

    @Test func fingerprintsTheMeaningOnly() throws {
        func fingerprint(_ body: String, _ extra: FieldTable = FieldTable(), replyTo: String? = nil) throws
            -> Fingerprint
        {
            var message = Sample.message(body, extra)
            message.properties.replyTo = replyTo
            return try Sample.decode(message).get().fingerprint
        }
        let plain = try fingerprint(Sample.route)
        let spelled = #" { "routingType" : "\u0049nitial" , "conversationIdentifier" : "\#(Sample.conversation)" } "#
        #expect(try fingerprint(spelled) == plain)
        #expect(
            try fingerprint(
                Sample.route,
                ["Deadline": .string("2026-03-02T12:00:00Z"), "traceparent": .string(Sample.traceparent)],
                replyTo: "amq.rabbitmq.reply-to.x") == plain)
        #expect(try fingerprint(Sample.route, ["AuthorizationContext": .string("Partner1_Channel2")]) != plain)
        #expect(try fingerprint(Sample.route, ["AuthorizationContextType": .string("X")]) != plain)
        #expect(
            try fingerprint(#"{"conversationIdentifier":"\#(Sample.conversation)","routingType":"Transfer"}"#) != plain)
        #expect(plain.bytes.count == 32)
    }

    @Test func allowsReplies() throws {
        var rules = DecodingRules()
        rules.replyAllowList = [.directReplyTo, .queue("answers"), .prefix("app."), .prefix("amq.gen-")]
        rules.reservedQueues = ["app.commands", "answers.dead"]
        func allows(_ queue: String) -> Bool {
            var message = Sample.message()
            message.properties.replyTo = queue
            switch Sample.decode(message, rules: rules) {
            case .success(let command): return command.reply.replyTo == (queue.isEmpty ? nil : queue)
            case .failure(let invalid):
                #expect(invalid.error.reason == "reply-not-allowed" && invalid.reply.replyTo == nil)
                return false
            }
        }
        for queue in ["", "routing.results", "answers", "app.one", "amq.gen-AbC", "amq.rabbitmq.reply-to.g1"] {
            #expect(allows(queue), "\(queue)")
        }
        for queue in [
            "answers2", "Answers", "app", "app.commands", "amq.rabbitmq.reply-to", "amq.rabbitmq.reply-to.",
            "amq.rabbitmq.trace",
            "amq.direct", "routing.commands", "app.\u{0}", "app.\r\n", "app." + String(repeating: "x", count: 252),
            String(repeating: "y", count: 1_000_000),
        ] {
            #expect(!allows(queue), "\(queue.prefix(40))")
        }
        // A pattern that names no queue of the broker's matches none.
        rules.replyAllowList = [.prefix("")]
        #expect(allows("anything") && !allows("amq.gen-AbC") && !allows("amq.rabbitmq.reply-to.g1"))
    }

    @Test func checksTheRoutingKeyWhereAsked() throws {
        let queue = QueueDefaults(routingKeyIsConversation: true)
        #expect(Sample.decode(Sample.message(), queue: queue, routingKey: Sample.conversation).reason == nil)
        #expect(Sample.decode(Sample.message(), queue: queue).reason == "routing-key-mismatch")
        #expect(Sample.decode(Sample.message()).reason == nil)
    }

    @Test(arguments: ["utf-8", "UTF8", "identity", ""])
    func acceptsPlainEncodings(_ encoding: String) {
        var message = Sample.message()
        message.properties.contentEncoding = encoding
        #expect(Sample.decode(message).reason == nil)
    }
}

extension Sample {
    static func message(_ body: String, _ extra: FieldTable) -> Message { message(body, type: "route", extra) }
}
