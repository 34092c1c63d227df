// Clients that are not ours send commands and read their answers: pika for Python, and amqp-tools in a shell.

import AMQP
import CommandClient
import Foundation
import RoutingContract
import TestSupport
import Testing

@Suite("Foreign clients", .timeLimit(.minutes(5)))
struct ForeignClientTests {
    private struct PikaAnswer: Decodable {
        struct Body: Decodable {
            struct Failure: Decodable { var reason: String }
            var requestId: String?
            var command: String?
            var outcome: String
            var error: Failure?
        }
        var correlationId: String
        var type: String
        var contentType: String
        var messageId: String
        var headers: [String: String]
        var body: Body
    }

    /// A command in every form, and one that is malformed; the `correlation_id` says which.
    private static func commands() throws -> String {
        let conversation = newID()
        let payload = #"{"conversationIdentifier":"\#(conversation)","routingType":"Initial"}"#
        let event: [String: Any] = [
            "specversion": "1.0", "type": "com.example.conversation.delete", "source": "/platform", "id": newID(),
            "orgid": "acme", "data": ["conversationIdentifier": conversation],
        ]
        let eventText = String(decoding: try JSONSerialization.data(withJSONObject: event), as: UTF8.self)
        let commands: [[String: Any]] = [
            [
                "properties": ["correlation_id": "plain", "type": "route", "message_id": newID()],
                "headers": ["OrgId": "acme"], "body": payload,
            ],
            [
                "properties": ["correlation_id": "binary", "content_type": "application/json"],
                "headers": [
                    "cloudEvents:specversion": "1.0", "cloudEvents:type": "com.example.conversation.route",
                    "cloudEvents:source": "/platform", "cloudEvents:id": newID(), "cloudEvents:orgid": "acme",
                ],
                "body": payload,
            ],
            [
                "properties": ["correlation_id": "structured", "content_type": "application/cloudevents+json"],
                "headers": [String: String](), "body": eventText,
            ],
            [
                "properties": ["correlation_id": "malformed", "type": "route"],
                "headers": ["RequestId": newID(), "OrgId": "acme"], "body": "{}",
            ],
        ]
        return try commands.map { command in
            String(decoding: try JSONSerialization.data(withJSONObject: command), as: UTF8.self) + "\n"
        }.joined()
    }

    /// - Parameter replies: see the script.
    private func askWithPika(replies: String) async throws {
        var options = HarnessOptions()
        options.settings = ["answers.allowReplyTo=amq.rabbitmq.reply-to, foreign-replies.*"]
        try await withHarness(options) { harness in
            _ = try await harness.startWorker()
            let script = try PackageFolder.url.appendingPathComponent("Tests/IntegrationTests/Scripts/pika_client.py")
            let commands = try harness.folder.write(Self.commands(), to: "commands.jsonl")
            let output = try await ChildProcess.run(
                URL(fileURLWithPath: "/bin/sh"),
                [
                    "-c", #"exec "$0" "$@" <"$COMMANDS""#, TestPython.interpreter, script.path, harness.brokerURL,
                    harness.queues[0], replies,
                ], environment: ["COMMANDS": commands])
            var answers: [String: PikaAnswer] = [:]
            for line in output.split(separator: "\n") {
                let answer = try JSONDecoder().decode(PikaAnswer.self, from: Data(line.utf8))
                #expect(answers.updateValue(answer, forKey: answer.correlationId) == nil)
                #expect(answer.contentType == "application/json")
                #expect(UUID(uuidString: answer.messageId) != nil)
                #expect(answer.headers["Outcome"] == answer.body.outcome)
                #expect(answer.headers["RequestId"] == answer.body.requestId)
            }
            #expect(answers.count == 4)
            for form in ["plain", "binary"] {
                #expect(answers[form]?.body.outcome == "succeeded")
                #expect(answers[form]?.type == "route.result")
            }
            #expect(answers["structured"]?.body.outcome == "succeeded")
            #expect(answers["structured"]?.type == "delete.result")
            #expect(answers["malformed"]?.body.outcome == "invalid")
            #expect(answers["malformed"]?.body.error?.reason == "conversation-missing")
        }
    }

    @Test("pika sends plain commands and CloudEvents and reads the answers from a queue of its own")
    func pika() async throws {
        try await askWithPika(replies: uniqueName("foreign-replies."))
    }

    @Test("pika reads the answers by direct reply-to")
    func pikaDirectly() async throws {
        try await askWithPika(replies: "direct")
    }

    @Test("amqp-publish sends a command, amqp-get and amqp-consume read its answer")
    func amqpTools() async throws {
        try await withHarness { harness in
            _ = try await harness.startWorker()
            let url = "--url=\(harness.brokerURL)"
            let tool = { (name: String, arguments: [String]) in
                try await ChildProcess.run(URL(fileURLWithPath: "/usr/bin/env"), [name, url] + arguments)
            }
            let ids = (0..<2).map { _ in newID() }
            for id in ids {
                _ = try await tool(
                    "amqp-publish",
                    [
                        "-e", "", "-r", harness.queues[0], "-p", "-C", "application/json", "-H", "Command: route", "-H",
                        "RequestId: \(id)", "-H", "OrgId: acme", "-b",
                        #"{"conversationIdentifier":"\#(newID())","routingType":"Initial"}"#,
                    ])
            }
            let collector = { (text: String) -> String? in
                let object = try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any]
                #expect(object?["outcome"] as? String == "succeeded")
                return object?["requestId"] as? String
            }
            // amqp-get does not wait.
            try await until("two answers") { try await harness.ready(in: harness.results) == 2 }
            let first = try await collector(tool("amqp-get", ["-q", harness.results]))
            let second = try await collector(tool("amqp-consume", ["-q", harness.results, "-c", "1", "cat"]))
            #expect(Set([first, second]) == Set(ids))
        }
    }
}
