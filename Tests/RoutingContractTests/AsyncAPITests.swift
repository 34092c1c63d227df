// The AsyncAPI description says what the contract's code does: its examples decode, and what is encoded has its names.

import AMQPMessage
import Foundation
import RoutingContract
import TestSupport
import Testing
import Yams

@Suite struct AsyncAPITests {
    private let description: Node

    init() throws {
        let file = try PackageFolder.url.appending(path: "deploy/asyncapi/route-worker.yaml")
        description = try #require(try Yams.compose(yaml: String(contentsOf: file, encoding: .utf8)))
    }

    private func schema(_ name: String) throws -> Node { try #require(description["components"]?["schemas"]?[name]) }

    private func members(of schema: String) throws -> Set<String> {
        Set(try #require(try self.schema(schema)["properties"]?.mapping).keys.compactMap(\.string))
    }

    /// An example as the message that it describes.
    private func example(_ kind: String, _ example: Node) throws -> Message {
        var headers = FieldTable()
        for (name, value) in try #require(example["headers"]?.mapping) {
            headers[try #require(name.string)] = value.int.map { .int64(Int64($0)) } ?? .string(value.string ?? "")
        }
        let payload = try #require(example["payload"]).any
        return Message(
            properties: MessageProperties(headers: headers, type: kind),
            body: Array(try JSONSerialization.data(withJSONObject: payload)))
    }

    private func examples(_ kind: String) throws -> [Node] {
        Array(try #require(description["components"]?["messages"]?[kind]?["examples"]?.sequence))
    }

    @Test(arguments: CommandKind.allCases)
    func everyExampleOfACommandIsValid(_ kind: CommandKind) throws {
        for example in try examples(kind.rawValue) {
            let command = try Sample.decode(self.example(kind.rawValue, example)).get()
            #expect(command.key.kind == kind)
            #expect(command.conversation == Sample.conversation)
            #expect(command.key.request.description == example["headers"]?["RequestId"]?.string)
            if let deadline = example["headers"]?["Deadline"]?.string {
                #expect(command.deadline == Timestamp(rfc3339: deadline))
            }
        }
    }

    @Test func itNamesTheHeadersThatAreRead() throws {
        #expect(
            try members(of: "commandHeaders") == [
                HeaderName.command, HeaderName.requestID, HeaderName.orgID, HeaderName.context, HeaderName.contextType,
                HeaderName.issuedAt, HeaderName.deadline, HeaderName.replay, HeaderName.acceptDuplicate,
                HeaderName.traceparent, HeaderName.tracestate,
            ])
        let outcomes = try #require(try schema("outcome")["enum"]?.sequence).compactMap(\.string)
        #expect(outcomes == Outcome.allCases.map(\.rawValue))
    }

    @Test func anAnswerHasWhatItSays() throws {
        let trace: FieldTable = [
            HeaderName.traceparent: .string(Sample.traceparent), HeaderName.tracestate: .string("a=b"),
        ]
        let command = try Sample.decode(Sample.message(Sample.route, type: "route", trace)).get()
        let answer = AnswerEncoder().encode(result(), about: AnswerSubject(command), duplicate: false)
        let body = try #require(
            try JSONSerialization.jsonObject(with: Data(answer.body)) as? [String: any Sendable])
        #expect(try members(of: "resultPayload") == Set(body.keys))
        let required = try #require(try schema("resultPayload")["required"]?.sequence).compactMap(\.string)
        #expect(Set(required) == Set(body.keys))
        let error = try #require(try schema("resultPayload")["properties"]?["error"]?["properties"]?.mapping)
        #expect(
            Set(error.keys.compactMap(\.string)) == Set(try #require(body["error"] as? [String: any Sendable]).keys))
        #expect(try members(of: "resultHeaders") == Set(answer.properties.headers.fields.map { $0.key }))
    }

    @Test func aDeadLetterHasWhatItSaysAndDecodesAgain() throws {
        let original = Sample.message(Sample.route, type: "route", ["x-old": .string("1")])
        let command = try Sample.decode(original).get()
        let letter = try DeadLetterEncoder().encode(
            original, from: DeliveryOrigin(queue: "routing.commands", routingKey: "routing.commands"),
            about: AnswerSubject(command), result: result(), now: Sample.now)
        let own = Set(letter.properties.headers.fields.map { $0.key }).subtracting([
            HeaderName.command, HeaderName.requestID, HeaderName.orgID, HeaderName.context,
        ])
        #expect(try members(of: "deadLetterHeaders") == own)
        for example in try examples("deadLetter") {
            let again = try Sample.decode(self.example("ignored: the header Command goes before it", example)).get()
            #expect(again.key == command.key && again.fingerprint == command.fingerprint)
        }
    }

    private func result() -> CommandResult {
        CommandResult(
            outcome: .rejected, httpStatus: 400, response: APIResponse(Array(#"{"success":false}"#.utf8)),
            error: CommandError(code: 10024, message: "queueId is invalid", reason: "queue-invalid"), attempts: 1,
            receivedAt: Sample.now, completedAt: Sample.now, worker: "worker-1")
    }
}
