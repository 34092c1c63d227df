// Dead letters: what stays, what moves, and that a replay is the same command.

import AMQPMessage
import Foundation
import Testing

@testable import RoutingContract

@Suite struct DeadLetterTests {
    private let encoder = DeadLetterEncoder()
    private let origin = DeliveryOrigin(queue: "routing.commands", exchange: "in", routingKey: "key")
    private let failed = CommandResult(
        outcome: .rejected, httpStatus: 400,
        error: CommandError(code: 10024, message: "no flow", reason: "rejected-by-api"),
        attempts: 3, receivedAt: Sample.now, completedAt: Sample.now, worker: "worker-1")

    private func subject(_ message: Message, _ queue: QueueDefaults = QueueDefaults()) throws -> AnswerSubject {
        switch Sample.decode(message, queue: queue) {
        case .success(let command): AnswerSubject(command)
        case .failure(let invalid): AnswerSubject(invalid, message: message)
        }
    }

    private func encode(_ message: Message, _ queue: QueueDefaults = QueueDefaults()) throws -> Message {
        try encoder.encode(message, from: origin, about: try subject(message, queue), result: failed, now: Sample.now)
    }

    @Test func saysWhatHappened() throws {
        let letter = try encode(Sample.message())
        let headers = letter.properties.headers
        #expect(headers["Outcome"] == .string("rejected"))
        #expect(headers["Reason"] == .string("rejected-by-api"))
        #expect(headers["Code"] == .int64(10024))
        #expect(headers["Error"] == .string("no flow"))
        #expect(headers["HttpStatus"] == .int64(400))
        #expect(headers["Attempts"] == .int64(3))
        #expect(headers["OriginQueue"] == .string("routing.commands"))
        #expect(headers["OriginExchange"] == .string("in"))
        #expect(headers["OriginRoutingKey"] == .string("key"))
        #expect(headers["Worker"] == .string("worker-1"))
        #expect(headers["DeadLetteredAt"] == .string("2026-03-01T12:00:00.000Z"))
        #expect(headers["Original"] == nil)
        #expect(letter.body == Array(Sample.route.utf8))
        #expect(letter.properties.deliveryMode == 2)
    }

    @Test func movesWhatWouldActAgain() throws {
        var message = Sample.message()
        message.properties.userID = "somebody"
        message.properties.expiration = "1000"
        message.properties.messageID = "m-1"
        message.properties.correlationID = "c-1"
        message.properties.replyTo = "amq.rabbitmq.reply-to.x"
        message.properties.contentType = "application/json"
        message.properties.priority = 3
        message.properties.appID = "app"
        message.properties.deliveryMode = 1
        let foreign: [(String, FieldValue)] = [
            ("CC", .array([.string("other")])), ("BCC", .array([])),
            ("x-death", .array([.table(["count": .int64(1)])])), ("X-Custom", .int8(1)),
            ("accept-duplicate", .boolean(true)),
            ("outcome", .string("mine")), ("WORKER", .void), ("", .string("empty")),
            ("mine", .decimal(scale: 1, value: 2)),
        ]
        for (name, value) in foreign { message.properties.headers.fields.append(FieldTable.Field(name, value)) }
        let letter = try encode(message)
        let properties = letter.properties
        #expect(properties.userID == nil && properties.expiration == nil && properties.deliveryMode == 2)
        #expect(
            properties.correlationID == "c-1" && properties.replyTo == "amq.rabbitmq.reply-to.x"
                && properties.priority == 3)
        #expect(properties.contentType == "application/json" && properties.appID == "app" && properties.type == "route")
        guard case .table(let original) = properties.headers["Original"] else {
            Issue.record("no Original")
            return
        }
        #expect(original["user_id"] == .string("somebody"))
        #expect(original["expiration"] == .string("1000"))
        #expect(original["message_id"] == .string("m-1"))
        #expect(original["CC"] == .array([.string("other")]))
        #expect(original["BCC"] == .array([]))
        #expect(original["x-death"] == .array([.table(["count": .int64(1)])]))
        #expect(original["X-Custom"] == .int8(1))
        #expect(original["outcome"] == .string("mine"))
        #expect(original["WORKER"] == .void)
        #expect(original["accept-duplicate"] == .boolean(true))
        #expect(original["(empty key)"] == .string("empty"))
        #expect(properties.headers["mine"] == .decimal(scale: 1, value: 2))
        #expect(properties.headers["Outcome"] == .string("rejected"))
        let names = properties.headers.fields.map { $0.key.lowercased() }
        #expect(Set(names).count == names.count)
        #expect(!names.contains { $0.hasPrefix("x-") || $0.isEmpty || $0 == "cc" || $0 == "bcc" })
        #expect(properties.messageID.flatMap { UUID(uuidString: $0) } != nil)
    }

    /// Every form of the same command, dead-lettered and published again to a queue without defaults.
    @Test func decodesToTheSameCommandWhenReplayed() throws {
        var forms = [(Sample.message(), QueueDefaults())]
        let bare = MessageProperties(
            correlationID: "c", messageID: Sample.request.uppercased(), timestamp: 1_772_366_000, type: "route")
        forms.append(
            (Message(properties: bare, body: Array(Sample.route.utf8)), QueueDefaults(org: "acme", context: "Q_C")))
        let void: FieldTable = ["orgid": .void, "Command": .void, "RequestId": .void]
        var voided = bare
        voided.headers = void
        forms.append(
            (Message(properties: voided, body: Array(Sample.route.utf8)), QueueDefaults(org: "acme", context: "Q_C")))
        let envelope =
            #"{"specversion":"1.0","type":"x.route","id":"\#(Sample.request)","source":"/","orgid":"acme","data":\#(Sample.route)}"#
        let event = MessageProperties(contentType: "application/cloudevents+json", messageID: "m-2")
        forms.append((Message(properties: event, body: Array(envelope.utf8)), QueueDefaults(context: "Q_C")))
        for (message, queue) in forms {
            let first = try Sample.decode(message, queue: queue).get()
            var letter = message
            for _ in 0..<3 {
                letter = try encode(letter, letter == message ? queue : QueueDefaults())
                #expect(try Sample.decode(letter).get() == first)
            }
            // Replays do not pile up.
            let once = try encode(message, queue)
            #expect(letter.properties.headers.fields.count <= once.properties.headers.fields.count + 1)
            if case .table(let original) = letter.properties.headers["Original"], let id = message.properties.messageID
            {
                #expect(original["message_id"] == .string(id))
                #expect(original["Original"] == nil)
            }
        }
    }

    @Test func namesLettersByCommandOutcomeAndReason() throws {
        let message = Sample.message()
        let subject = try subject(message)
        func id(_ change: (inout CommandResult) -> Void = { _ in }) throws -> String? {
            var result = failed
            change(&result)
            return try encoder.encode(
                message, from: origin, about: subject, result: result, now: Sample.now + .seconds(1)
            ).properties.messageID
        }
        let first = try id()
        #expect(try encode(message).properties.messageID == first)
        #expect(try id { $0.outcome = .exhausted } != first)
        #expect(try id { $0.error?.reason = "answer-unroutable" } != first)
        #expect(AnswerEncoder().encode(failed, about: subject, duplicate: false).properties.messageID != first)
    }

    /// Consent to a second effect is given for one replay, not for all that follow.
    @Test func keepsTheReplayCountButNotTheConsent() throws {
        var rules = DecodingRules()
        rules.honoursReplay = true
        let replayed = Sample.message(Sample.route, ["Replay": .int64(2), "Accept-Duplicate": .boolean(true)])
        let subject = AnswerSubject(try Sample.decode(replayed, rules: rules).get())
        let letter = try encoder.encode(replayed, from: origin, about: subject, result: failed, now: Sample.now)
        let command = try Sample.decode(letter, rules: rules).get()
        #expect(command.replay == 2 && !command.acceptsSecondEffect)
        // One that did not count, where nobody may replay, counts no more than before.
        #expect(try Sample.decode(encode(replayed), rules: rules).get().replay == 0)
        // The count of the recorded outcome, which a duplicate does not carry.
        let duplicate = try encoder.encode(
            Sample.message(), from: origin, about: subject, result: failed, now: Sample.now)
        #expect(DeadLetter(duplicate).replay == 2)
    }

    @Test func givesUpAReplyAddressThatNobodyElseMayPublish() throws {
        var message = Sample.message()
        message.properties.replyTo = "amq.rabbitmq.reply-to"
        let letter = try encode(message)
        #expect(letter.properties.replyTo == nil)
        #expect(letter.properties.headers["Original"] == .table(["reply_to": .string("amq.rabbitmq.reply-to")]))
    }

    @Test func keepsErrorsShort() throws {
        var result = failed
        result.error?.message = String(repeating: "é", count: 600) + "x"
        let letter = try encoder.encode(
            Sample.message(), from: origin, about: subject(Sample.message()), result: result, now: Sample.now)
        #expect(letter.properties.headers["Error"] == .string(String(repeating: "é", count: 512)))
        #expect("aé".prefix(bytes: 2) == "a" && "aé".prefix(bytes: 3) == "aé" && "😀".prefix(bytes: 3) == "")
    }

    @Test func movesAForeignOriginalIntoItsOwn() throws {
        let letter = try encode(Sample.message(Sample.route, ["original": .string("x")]))
        #expect(letter.properties.headers["Original"] == .table(["original": .string("x")]))
        #expect(letter.properties.headers["original"] == nil)
    }

    @Test func saysWhenPropertiesCannotBeEncodedAgain() throws {
        func error(_ change: (inout Message) -> Void) -> UnencodableProperties? {
            var message = Sample.message()
            change(&message)
            do throws(UnencodableProperties) {
                let subject = AnswerSubject(
                    InvalidCommand(error: CommandError(message: "", reason: "body-malformed")), message: message)
                _ = try encoder.encode(message, from: origin, about: subject, result: failed, now: Sample.now)
                return nil
            } catch {
                return error
            }
        }
        #expect(error { _ in } == nil)
        #expect(
            error { $0.properties.headers["big"] = .bytes([UInt8](repeating: 0, count: 131_000)) }
                == .tooLarge(limit: 131_008))
        #expect(error { $0.properties.headers["big"] = .bytes([UInt8](repeating: 0, count: 120_000)) } == nil)
        let long = String(repeating: "k", count: 256)
        #expect(error { $0.properties.headers[long] = .void } != nil)
        #expect(error { $0.properties.headers[String(long.dropLast())] = .void } == nil)
        #expect(error { $0.properties.correlationID = long } == .shortStringTooLong(name: "correlation_id", bytes: 256))
        // What moves into Original is a long string there.
        #expect(error { $0.properties.expiration = long } == nil)
        func nested(_ depth: Int, array: Bool) -> FieldValue {
            (1..<depth).reduce(.void) { inner, _ in array ? .array([inner]) : .table(["a": inner]) }
        }
        for array in [true, false] {
            #expect(error { $0.properties.headers["deep"] = nested(64, array: array) } == nil)
            #expect(error { $0.properties.headers["deep"] = nested(65, array: array) } == .nestedTooDeep)
            #expect(error { $0.properties.headers["deep"] = nested(2000, array: array) } == .nestedTooDeep)
        }
        for error in [
            UnencodableProperties.nestedTooDeep, .tooLarge(limit: 1), .shortStringTooLong(name: "a", bytes: 256),
        ] {
            #expect(!error.description.isEmpty)
        }
    }
}
