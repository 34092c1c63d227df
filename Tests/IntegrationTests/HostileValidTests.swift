// Messages that are strange and yet valid commands: hostile or not, they are worked on like all others.

import AMQP
import AMQPMessage
import Foundation
import RoutingContract
import TestSupport
import Testing

@Suite("Strange commands", .timeLimit(.minutes(10)))
struct HostileValidTests {
    /// Valid routes with something strange about them, by name, which is their `correlation_id` unless they have another.
    private func strangeCommands(_ stage: HostileStage) -> [(name: String, message: Message)] {
        func strange(_ name: String, _ change: (inout Message) -> Void) -> (name: String, message: Message) {
            var message = HostileStage.validRoute()
            message.properties.correlationID = name
            change(&message)
            return (name, message)
        }
        func field(_ name: String, _ value: String) -> (name: String, message: Message) {
            strange(name) { $0.body = Array((String(decoding: $0.body.dropLast(), as: UTF8.self) + ",\(value)}").utf8) }
        }
        func conversation(_ name: String, _ text: String) -> (name: String, message: Message) {
            strange(name) { $0.body = Array(#"{"conversationIdentifier":"\#(text)","routingType":"Initial"}"#.utf8) }
        }
        return [
            strange("empty reply_to") { $0.properties.replyTo = "" },
            strange("correlation_id of 255 bytes") {
                $0.properties.correlationID = String(repeating: "é", count: 127) + "!"
            },
            strange("correlation_id with CR LF") { $0.properties.correlationID = "a\r\nX-Forged: 1\0" },
            strange("user_id") { $0.properties.userID = stage.endpoint.user },
            strange("expiration") { $0.properties.expiration = "600000" },
            strange("priority") { $0.properties.priority = 255 },
            strange("headers in another case") {
                let fields = $0.properties.headers.fields.map { FieldTable.Field($0.key.uppercased(), $0.value) }
                $0.properties.headers = FieldTable(fields)
            },
            strange("header twice") { $0.properties.headers.fields.append(.init("requestid", .string("second"))) },
            strange("ids as bytes") {
                $0.properties.headers["OrgId"] = .bytes(Array("acme".utf8))
                $0.properties.headers["RequestId"] = .bytes(Array(UUID().uuidString.utf8))
            },
            strange("every field type") { $0.properties.headers.fields += FieldTable.everyType.fields },
            strange("nested 60 deep") { $0.properties.headers["tree"] = .table(.nested(60)) },
            strange("CC") { $0.properties.headers["CC"] = .array([.string("hostile-nowhere"), .string("\r\n")]) },
            strange("BCC") { $0.properties.headers["BCC"] = .array([.string(stage.commands + ".not")]) },
            strange("forged delivery count") { $0.properties.headers["x-delivery-count"] = .int64(1_000_000) },
            strange("forged deaths") { $0.properties.headers["x-death"] = .string("many") },
            strange("replay that does not count") {
                $0.properties.headers["Replay"] = .string("-1")
                $0.properties.headers["Accept-Duplicate"] = .array([])
            },
            strange("broken trace") {
                $0.properties.headers["traceparent"] = .string("00-\r\n")
                $0.properties.headers["tracestate"] = .string(String(repeating: "=", count: 100_000))
            },
            strange("issued in the year 0") {
                $0.properties.headers["IssuedAt"] = .void
                $0.properties.headers["Deadline"] = .string("9999-12-31T23:59:60.999999999999-23:59")
            },
            strange("direct reply to nobody") { $0.properties.replyTo = "amq.rabbitmq.reply-to.nobody" },
            strange("direct reply to a process that is none") {
                $0.properties.replyTo = "amq.rabbitmq.reply-to.g2dkAA1yYWJiaXRAbm93aGVyZQAAB9AAAAAAAAAAAAA=.a2V5"
            },
            strange("direct reply to no base64") { $0.properties.replyTo = "amq.rabbitmq.reply-to.%%%.\u{7F}é" },
            strange("direct reply of 255 bytes") {
                $0.properties.replyTo = "amq.rabbitmq.reply-to." + String(repeating: ".", count: 233)
            },
            field("number beyond all bounds", #""x":[1e99999999999999999999,-0.0,123456789012345678901234567890]"#),
            field("number of 100,000 digits", "\"x\":" + String(repeating: "9", count: 100_000)),
            field("60 deep", "\"x\":" + String(repeating: "[", count: 60) + String(repeating: "]", count: 60)),
            field(
                "10,000 keys backwards",
                (0..<10_000).reversed().map { #""k\#($0 + 10_000)":null"# }.joined(separator: ",")),
            field("text of 500,000 bytes", #""x":"\#(String(repeating: "\u{1F600}", count: 125_000))""#),
            conversation("conversation of controls", "a\u{85}\u{9B}31m\u{202E}\u{2028}b\u{FFFF}"),
            conversation("conversation of 255 bytes", String(repeating: "é", count: 127) + "!"),
            conversation("conversation of quotes", #"\"'`$(x) --;\\"#),
        ]
    }

    @Test("Strange properties, headers and payloads are answered like all others")
    func strange() async throws {
        try await withHostileStage { stage in
            let worker = try await stage.harness.startWorker()
            let commands = strangeCommands(stage)
            try await stage.send(commands.map(\.message))
            let came = try await stage.inbox.wait { $0.withoutAnswer(commands.map(\.message)) }
            for (name, message) in commands {
                let answer = came.answer(message.properties.correlationID)
                #expect(answer?.outcome == .succeeded, Comment(rawValue: "\(name): \(answer?.errorMessage ?? "")"))
            }
            #expect(came.deadLetters.isEmpty)
            let log = worker.transcript.unicodeScalars
            #expect(log.allSatisfy { $0 == "\n" || !$0.properties.isControlOrLineBreak })
            try await stage.checkHealth(of: worker)
        }
    }

    @Test("Headers that are read in part, and routing keys that are no text, do not keep a command from its answer")
    func strangeRaw() async throws {
        try await withHostileStage { stage in
            let worker = try await stage.harness.startWorker()
            let exchange = uniqueName("hostile-exchange")
            try await AMQPAdmin.withConnection(stage.harness.broker) { admin in
                try await admin.declareExchange(exchange, type: "fanout", autoDelete: true)
                try await admin.bind(queue: stage.commands, to: exchange, routingKey: "")
            }
            let fields: [[UInt8]] = [
                Raw.field("k", "F", Raw.nested(100, arrays: false)),
                Raw.field("k", "A", Raw.nested(26_000, arrays: true)),
                Raw.field([0x66, 0xFF], "V", []), Raw.field("k", "S", Raw.long([0xFF])),
                Raw.field("k", "L", Raw.integer(UInt64.max)), Raw.field("", "t", [2]),
            ]
            let commands = fields.map { extra in
                let id = newID()
                let headers = Raw.text("RequestId", id) + Raw.text("OrgId", "acme") + extra
                let message = RawMessage(
                    properties: Raw.properties([(.headers, Raw.long(headers)), (.type, Raw.short("route"))]),
                    body: HostileStage.validRoute().body, exchange: Array(exchange.utf8),
                    routingKey: Array(repeating: 0xFF, count: 255))
                return (id: id, message: message)
            }
            let taken = try await RawPublisher.publish(commands.map(\.message), to: "", at: stage.endpoint)
            #expect(taken.allSatisfy { $0 })
            let came = try await stage.inbox.wait { came in
                commands.map(\.id).filter { came.answer($0) == nil }
            }
            for command in commands { #expect(came.answer(command.id)?.outcome == .succeeded) }
            try await stage.checkHealth(of: worker)
        }
    }

    /// RabbitMQ 3.10 ends the connection of whoever publishes to a direct reply-to that it cannot read, or whose node it
    /// does not know (any more): `rabbit_direct_reply_to:decode_reply_to_v2/2`.
    @Test("Direct reply-to addresses that break the connection of who answers break no other answer's")
    func forgedDirectReplies() async throws {
        try await withHostileStage { stage in
            let worker = try await stage.harness.startWorker()
            let process = [131, 88, 119, 7] + Array("reply@1".utf8) + [UInt8](repeating: 0, count: 12)
            let forged = ["x.y", "\(Data(process).base64EncodedString()).a2V5", "%%%.\u{7F}é"]
            var sent: [Message] = []
            for index in 0..<300 {
                var message = HostileStage.validRoute()
                if index % 5 == 0 {
                    message.properties.replyTo = "amq.rabbitmq.reply-to." + forged[index / 5 % forged.count]
                }
                sent.append(message)
            }
            try await stage.send(sent)
            let came = try await stage.inbox.wait { $0.withoutAnswer(sent) }
            for message in sent { #expect(came.answer(message.properties.correlationID)?.outcome == .succeeded) }
            try await stage.checkHealth(of: worker)
            // A broken connection would have made the worker publish again what was on its way.
            #expect(stage.inbox.soFar.answers.count == sent.count + 1)
        }
    }

    @Test("Redelivered messages, valid and not, end once")
    func redelivered() async throws {
        try await withHostileStage { stage in
            let valid = (0..<20).map { _ in HostileStage.validRoute() }
            let broken = stage.payloadCases
            try await stage.send(valid + broken.map(\.message))
            for _ in 0..<3 {
                // Taken and given back by the end of the connection.
                try await AMQPAdmin.withConnection(stage.harness.broker) { admin in
                    while try await admin.get(from: stage.commands, removing: false) != nil {}
                }
            }
            let worker = try await stage.harness.startWorker()
            let came = try await stage.inbox.wait { came in
                came.withoutAnswer(valid) + came.withoutDeadLetter(broken.map(\.name))
            }
            for message in valid {
                let answer = came.answer(message.properties.correlationID)
                #expect(answer?.outcome == .succeeded)
                #expect(answer?.attempts == 1)
            }
            #expect(came.deadLetters.count == broken.count)
            for hostile in broken { #expect(came.deadLetter(app: hostile.name)?["Reason"] == hostile.reason) }
            try await stage.checkHealth(of: worker)
        }
    }

    @Test("Bodies of 10 MB, sixteen at a time, are dead letters byte for byte, and their memory is used again")
    func manyLargeBodies() async throws {
        try await withHostileStage { stage in
            let worker = try await stage.harness.startWorker()
            var peaks: [Int] = []
            for wave in 0..<4 {
                let bodies = (0..<16).map { [UInt8](repeating: UInt8(wave * 16 + $0), count: 10 << 20) }
                for (index, body) in bodies.enumerated() {
                    var message = HostileStage.validRoute()
                    message.properties.appID = "large \(wave) \(index)"
                    message.body = body
                    try await stage.send([message])
                }
                let came = try await stage.inbox.wait { came in
                    came.withoutDeadLetter(bodies.indices.map { "large \(wave) \($0)" })
                }
                for (index, body) in bodies.enumerated() {
                    let letter = came.deadLetter(app: "large \(wave) \(index)")
                    #expect(letter?["Reason"] == "body-too-large")
                    #expect(letter?.body == body)
                }
                stage.inbox.forgetDeadLetters()
                peaks.append(try worker.peakMemory >> 20)
            }
            print("peak memory after each wave: \(peaks) MB")
            // How many are held at a time differs; a leak would take 160 MB a wave.
            #expect(peaks[3] - peaks[1] < 200)
            try await stage.checkHealth(of: worker)
        }
    }
}

extension Unicode.Scalar.Properties {
    fileprivate var isControlOrLineBreak: Bool {
        switch generalCategory {
        case .control, .lineSeparator, .paragraphSeparator: true
        default: false
        }
    }
}
