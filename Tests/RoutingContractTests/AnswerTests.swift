// Answers and the ids that they carry.

import AMQPMessage
import Foundation
import Testing

@testable import RoutingContract

@Suite struct AnswerTests {
    private let encoder = AnswerEncoder()

    private func command(_ change: (inout Message) -> Void = { _ in }) throws -> RouteCommand {
        var message = Sample.message()
        change(&message)
        return try Sample.decode(message).get()
    }

    private func result(_ outcome: Outcome = .succeeded, response: String? = nil, error: CommandError? = nil)
        -> CommandResult
    {
        CommandResult(
            outcome: outcome, httpStatus: response == nil ? nil : 202,
            response: response.map { APIResponse(Array($0.utf8)) },
            error: error, attempts: 2,
            receivedAt: Sample.now, completedAt: Sample.now + .milliseconds(1234), worker: "worker-1")
    }

    @Test func writesEveryFieldInOrder() throws {
        let command = try command {
            $0.properties.correlationID = "c-1"
            $0.properties.headers["traceparent"] = .string(Sample.traceparent)
            $0.properties.headers["tracestate"] = .string("a=1")
        }
        let answer = encoder.encode(
            result(response: #"{ "success": true }"#), about: AnswerSubject(command), duplicate: true)
        #expect(
            String(decoding: answer.body, as: UTF8.self) == #"{"schemaVersion":1,"requestId":"\#(Sample.request)","#
                + #""orgId":"\#(Sample.org)","command":"route","conversationIdentifier":"\#(Sample.conversation)","#
                + #""outcome":"succeeded","httpStatus":202,"response":{ "success": true },"error":null,"attempts":2,"#
                + #""duplicate":true,"replay":0,"receivedAt":"2026-03-01T12:00:00.000Z","#
                + #""completedAt":"2026-03-01T12:00:01.234Z","worker":"worker-1"}"#)
        let properties = answer.properties
        #expect(properties.contentType == "application/json")
        #expect(properties.correlationID == "c-1")
        #expect(properties.type == "route.result")
        #expect(properties.deliveryMode == 2)
        #expect(properties.timestamp == 1_772_366_401)
        #expect(properties.replyTo == nil && properties.userID == nil && properties.expiration == nil)
        #expect(
            properties.headers == [
                "RequestId": .string(Sample.request), "OrgId": .string(Sample.org), "Outcome": .string("succeeded"),
                "traceparent": .string(Sample.traceparent), "tracestate": .string("a=1"),
            ])
    }

    @Test func fallsBackToTheRequestID() throws {
        let answer = encoder.encode(result(), about: AnswerSubject(try command()), duplicate: false)
        #expect(answer.properties.correlationID == Sample.request)
    }

    @Test func writesErrors() throws {
        let error = CommandError(code: 10024, message: "say \"please\"\n", reason: "flow-incomplete")
        let answer = encoder.encode(
            result(.rejected, error: error), about: AnswerSubject(try command()), duplicate: false)
        let root = try JSONScanner().scan(answer.body).root
        #expect(root["error"]?["code"]?.integer == 10024)
        #expect(root["error"]?["message"]?.string == "say \"please\"\n")
        #expect(root["error"]?["reason"]?.string == "flow-incomplete")
        #expect(root["response"]?.kind == .null)
        #expect(root["httpStatus"]?.kind == .null)
    }

    @Test(arguments: [
        ("{}", "{}"), ("[1]", "[1]"), ("\"x\"", "\"x\""), ("", "null"), ("<html>", "\"<html>\""), ("{", "\"{\""),
        (#"{"a":1,"a":2}"#, #""{\"a\":1,\"a\":2}""#),
    ])
    func embedsTheResponse(_ response: String, _ embedded: String) throws {
        let answer = encoder.encode(result(response: response), about: AnswerSubject(try command()), duplicate: false)
        let document = try JSONScanner().scan(answer.body)
        #expect(document.root["response"].map { String(decoding: $0.bytes, as: UTF8.self) } == embedded)
    }

    @Test func embedsWhateverBytesCome() throws {
        var generator = SeededGenerator()
        let subject = AnswerSubject(try command())
        for _ in 0..<300 {
            var bytes = Array(#"{"success":true,"psrId":"0Mw000000000001"}"#.utf8)
            for _ in 0..<3 { mutate(&bytes, using: &generator) }
            var result = result()
            result.response = APIResponse(bytes)
            let answer = encoder.encode(result, about: subject, duplicate: false)
            #expect(throws: Never.self, "seed \(generator.seed)") { try JSONScanner().scan(answer.body) }
        }
        var huge = result()
        huge.response = APIResponse([UInt8](repeating: 0xFF, count: 1_000_000))
        #expect(encoder.encode(huge, about: subject, duplicate: false).body.count < 100_000)
    }

    @Test func answersInvalidMessages() throws {
        var message = Message(properties: MessageProperties(messageID: "m-17"), body: Array("nonsense".utf8))
        func answer() -> Message? {
            guard case .failure(let invalid) = Sample.decode(message) else { return nil }
            let result = CommandResult.invalid(invalid, receivedAt: Sample.now, completedAt: Sample.now, worker: "w")
            return encoder.encode(result, about: AnswerSubject(invalid, message: message), duplicate: false)
        }
        let first = try #require(answer())
        let root = try JSONScanner().scan(first.body).root
        #expect(root["outcome"]?.string == "invalid")
        #expect(root["error"]?["reason"]?.string == "command-missing")
        #expect(root["requestId"]?.kind == .null && root["orgId"]?.kind == .null && root["command"]?.kind == .null)
        #expect(first.properties.type == "command.result")
        #expect(first.properties.correlationID == "m-17")
        #expect(first.properties.headers == ["Outcome": .string("invalid")])
        #expect(try #require(answer()).properties.messageID == first.properties.messageID)
        message.body += [0x20]
        #expect(try #require(answer()).properties.messageID != first.properties.messageID)
    }

    @Test func namesAnswersByWhatTheySay() throws {
        let subject = AnswerSubject(try command())
        let id = encoder.encode(result(), about: subject, duplicate: false).properties.messageID
        #expect(encoder.encode(result(), about: subject, duplicate: true).properties.messageID == id)
        let again = try command {
            $0.properties.replyTo = "amq.rabbitmq.reply-to.x"
            $0.properties.correlationID = "other"
        }
        #expect(encoder.encode(result(), about: AnswerSubject(again), duplicate: true).properties.messageID == id)

        var ids: Set<String?> = [id]
        ids.insert(encoder.encode(result(.unknown), about: subject, duplicate: false).properties.messageID)
        var replayed = subject
        replayed.replay = 1
        ids.insert(encoder.encode(result(), about: replayed, duplicate: false).properties.messageID)
        for change in [
            ["OrgId": "other"], ["Command": "delete"], ["RequestId": "00000000-0000-4000-8000-000000000001"],
            ["AuthorizationContext": "X"],
        ] {
            let other = try command { for (name, value) in change { $0.properties.headers[name] = .string(value) } }
            ids.insert(encoder.encode(result(), about: AnswerSubject(other), duplicate: false).properties.messageID)
        }
        #expect(ids.count == 7)
        for id in ids { #expect(id.flatMap { UUID(uuidString: $0) } != nil) }
    }

    /// RFC 9562, appendix A.4, and Python's documentation of `uuid5`.
    @Test func derivesUUIDs() throws {
        let dns = try #require(RequestID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")).bytes
        #expect(UUIDv5.text(namespace: dns, name: "www.example.com".utf8) == "2ed6657d-e927-568b-95e1-2665a8aea6a2")
        #expect(UUIDv5.text(namespace: dns, name: "python.org".utf8) == "886313e1-3b8a-5372-9b90-0c9aee199e5d")
    }

    @Test func framesFieldsWithoutAmbiguity() {
        func framed(_ fields: [String?]) -> [UInt8] {
            var framed = FramedFields()
            for field in fields { framed.append(field) }
            return framed.bytes
        }
        let lists: [[String?]] = [
            [], [nil], [""], ["", ""], [nil, nil], ["a", "b"], ["ab"], ["ab", ""], ["", "ab"], ["a", nil, "b"],
        ]
        #expect(Set(lists.map(framed)).count == lists.count)
    }

    @Test func fingerprintIsWhatIsDocumented() {
        // Fixed: a store keeps fingerprints across versions of the worker.
        let one = Fingerprint(payload: Array("{}".utf8), context: "A_B", contextType: nil)
        let hexadecimal = one.bytes.map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
        #expect(hexadecimal == "0b1ed152a79d6972b5dc27486d18c390dab07c6f83ac5e556c0c2a7d79d64d88")
    }
}
