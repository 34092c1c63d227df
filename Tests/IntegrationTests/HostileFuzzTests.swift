// Two thousand messages made up at random from valid ones: each accepted by the broker ends once, and the worker lives.

import AMQP
import AMQPMessage
import CommandClient
import Foundation
import RoutingContract
import TestSupport
import Testing

@Suite("Random messages", .timeLimit(.minutes(10)))
struct HostileFuzzTests {
    @Test("Mutated headers, properties, bodies and wire bytes among valid commands")
    func fuzz() async throws {
        let seed =
            ProcessInfo.processInfo.environment["ROUTE_WORKER_TEST_SEED"].flatMap(UInt64.init)
            ?? UInt64.random(in: 0...UInt64.max)
        print("ROUTE_WORKER_TEST_SEED=\(seed)")
        try await withHostileStage { stage in
            var fuzzer = Fuzzer(seed: seed, stage: stage)
            let worker = try await stage.harness.startWorker()
            var valid: [Message] = []
            var bodies: [String: [UInt8]] = [:]
            var sent = 0
            for _ in 0..<20 {
                let messages = (0..<80).map { _ in fuzzer.mutated() }
                let between = (0..<20).map { _ in HostileStage.validRoute() }
                try await stage.send((messages + between).shuffled(using: &fuzzer.random))
                valid += between
                for message in messages { bodies[message.properties.appID ?? ""] = message.body }
                let raw = (0..<20).map { _ in fuzzer.mutatedOnTheWire() }
                let taken = try await RawPublisher.publish(raw, to: stage.commands, at: stage.endpoint)
                sent += messages.count + between.count + taken.count { $0 }
            }
            print("\(sent) messages of \(20 * 120) were taken by the broker")

            // A command ends with a dead letter, or with an answer that says something else than failure.
            let came = try await stage.inbox.wait { came in
                let ended = came.deadLetters.count + came.answers.count { !$0.isFailure }
                return ended < sent ? ["\(sent - ended) of \(sent) have not ended"] : []
            }
            for message in valid {
                #expect(came.answer(message.properties.correlationID)?.outcome == .succeeded)
            }
            for letter in came.deadLetters {
                if let body = bodies[letter.properties.appID ?? ""] { #expect(letter.body == body) }
                guard !letter.isBrokers else { continue }
                #expect(letter["Outcome"].flatMap(Outcome.init) != nil)
                #expect(letter["Reason"]?.isEmpty == false)
                #expect(letter["Error"]?.isEmpty == false)
            }
            let letters = came.deadLetters.compactMap(\.properties.appID).filter { bodies[$0] != nil }
            #expect(Set(letters).count == letters.count, "one dead letter for each")
            print("\(letters.count) of \(bodies.count) mutated messages became dead letters")
            try await stage.checkHealth(of: worker)
            // The one of the health check has come, too, and nothing else.
            let end = stage.inbox.soFar
            #expect(end.deadLetters.count + end.answers.count { !$0.isFailure } == sent + 1)
        }
    }
}

extension Answer {
    /// Whether a dead letter goes with it.
    fileprivate var isFailure: Bool { outcome.isFailure && reason != CommandResult.nothingCleared }
}

/// Makes messages up from a seed.
private struct Fuzzer {
    var random: SeededGenerator
    private let stage: HostileStage
    private var count = 0

    init(seed: UInt64, stage: HostileStage) {
        random = SeededGenerator(seed: seed)
        self.stage = stage
    }

    /// A valid command in any form, with one to four things changed.
    mutating func mutated() -> Message {
        var message =
            switch Int.random(in: 0..<4, using: &random) {
            case 0: stage.binaryEvent()
            case 1: stage.structuredEvent()
            default: HostileStage.validRoute()
            }
        for _ in 0..<Int.random(in: 1...4, using: &random) {
            switch Int.random(in: 0..<3, using: &random) {
            case 0: changeHeaders(&message.properties.headers)
            case 1: changeProperty(&message.properties)
            default: changeBytes(&message.body)
            }
        }
        count += 1
        message.properties.appID = "fuzz-\(count)"
        return message
    }

    /// A valid command whose properties are changed as they stand on the wire.
    mutating func mutatedOnTheWire() -> RawMessage {
        let headers =
            Raw.text("RequestId", newID()) + Raw.text("OrgId", "acme")
            + Raw.field("tree", "F", Raw.long(Raw.text("leaf", "x") + Raw.field("n", "l", Raw.integer(Int64(-1)))))
        var properties = Raw.properties([
            (.contentType, Raw.short("application/json")), (.headers, Raw.long(headers)),
            (.correlationID, Raw.short(newID())), (.type, Raw.short("route")),
        ])
        changeBytes(&properties)
        return RawMessage(properties: properties, body: HostileStage.validRoute().body)
    }

    private mutating func changeHeaders(_ headers: inout FieldTable) {
        let known = [
            "RequestId", "OrgId", "Command", "AuthorizationContext", "IssuedAt", "Deadline", "Replay", "traceparent",
        ]
        switch Int.random(in: 0..<5, using: &random) {
        case 0 where !headers.isEmpty: headers.fields.removeFirst()
        case 1: headers.fields.shuffle(using: &random)
        case 2: headers[known.randomElement(using: &random)!] = value(depth: 0)
        case 3 where !headers.isEmpty: headers.fields.append(headers.fields.randomElement(using: &random)!)
        default: headers.fields.append(.init(text(0...255), value(depth: 0)))
        }
    }

    private mutating func changeProperty(_ properties: inout MessageProperties) {
        let text = text(0...255)
        let types = ["application/json", "text/plain", "application/cloudevents+json", "application/cloudevents", text]
        let replies = [
            "", stage.replies, HostileStage.replyPrefix + "nobody", stage.commands, stage.harness.deadLetters,
            "amq.rabbitmq.reply-to.x.y", text,
        ]
        switch Int.random(in: 0..<11, using: &random) {
        case 0: properties.contentType = types.randomElement(using: &random)
        case 1: properties.contentEncoding = ["gzip", "UTF-8", "identity", text].randomElement(using: &random)
        case 2: properties.deliveryMode = nil
        case 3: properties.priority = .random(in: 0...255, using: &random)
        case 4: properties.correlationID = [nil, text].randomElement(using: &random)!
        case 5, 6: properties.replyTo = replies.randomElement(using: &random)
        case 7: properties.messageID = [nil, newID(), text].randomElement(using: &random)!
        case 8: properties.timestamp = .random(in: 0...(.max >> 1), using: &random)
        case 9: properties.type = [nil, "delete", "ROUTE", text].randomElement(using: &random)!
        default: properties.clusterID = text
        }
    }

    private mutating func changeBytes(_ bytes: inout [UInt8]) {
        for _ in 0..<Int.random(in: 1...3, using: &random) {
            guard !bytes.isEmpty else { return }
            let index = bytes.indices.randomElement(using: &random)!
            let end = min(bytes.count, index + Int.random(in: 0...32, using: &random))
            switch Int.random(in: 0..<6, using: &random) {
            case 0: bytes[index] ^= 1 << UInt8.random(in: 0..<8, using: &random)
            case 1: bytes[index] = .random(in: 0...255, using: &random)
            case 2: bytes.removeSubrange(index..<end)
            case 3: bytes.insert(contentsOf: bytes[index..<end], at: index)
            case 4: bytes.insert(Array("{[]},:\"\\0e-".utf8).randomElement(using: &random)!, at: index)
            default: bytes.removeLast(bytes.count - index)
            }
        }
    }

    private mutating func value(depth: Int) -> FieldValue {
        switch Int.random(in: 0..<(depth < 6 ? 19 : 16), using: &random) {
        case 0: .void
        case 1: .boolean(.random(using: &random))
        case 2: .int8(.random(in: .min ... .max, using: &random))
        case 3: .uint8(.random(in: .min ... .max, using: &random))
        case 4: .int16(.random(in: .min ... .max, using: &random))
        case 5: .uint16(.random(in: .min ... .max, using: &random))
        case 6: .int32(.random(in: .min ... .max, using: &random))
        case 7: .uint32(.random(in: .min ... .max, using: &random))
        case 8: .int64(.random(in: .min ... .max, using: &random))
        // A broker reads no number that is none.
        case 9: .float(.random(in: -1e30...1e30, using: &random))
        case 10: .double(.random(in: -1e300...1e300, using: &random))
        case 11: .decimal(scale: .random(in: 0...255, using: &random), value: .random(in: 0 ... .max, using: &random))
        case 12: .string(text(0...2000))
        case 13: .malformedString([0xFF])
        case 14: .bytes(bytes(0...2000))
        case 15: .timestamp(.random(in: 0...(.max >> 1), using: &random))
        case 16: .table(.nested(.random(in: 1...60, using: &random)))
        case 17:
            .table(
                FieldTable(
                    (0..<Int.random(in: 0...4, using: &random)).map { _ in
                        .init(text(0...20), value(depth: depth + 1))
                    }))
        default: .array((0..<Int.random(in: 0...4, using: &random)).map { _ in value(depth: depth + 1) })
        }
    }

    private mutating func bytes(_ lengths: ClosedRange<Int>) -> [UInt8] {
        (0..<Int.random(in: lengths, using: &random)).map { _ in .random(in: 0...255, using: &random) }
    }

    /// At most so many bytes in UTF-8, of all kinds of characters.
    private mutating func text(_ bytes: ClosedRange<Int>) -> String {
        var text = String.UnicodeScalarView()
        var left = Int.random(in: bytes, using: &random)
        while left >= 4 {
            let range: ClosedRange<UInt32> = [0...0x7F, 0x80...0x7FF, 0x800...0xFFFF, 0x10000...0x10FFFF].randomElement(
                using: &random)!
            guard let scalar = Unicode.Scalar(UInt32.random(in: range, using: &random)) else { continue }
            text.append(scalar)
            left -= UTF8.width(scalar)
        }
        return String(text)
    }
}
