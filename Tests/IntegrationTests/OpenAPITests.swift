// What goes over the wire fits the sandbox's OpenAPI description, as a validator that is not ours reads it: openapi-core.

import CommandClient
import Foundation
@testable import InteractionSandbox
import Logging
import TestSupport
import Testing

@Suite("OpenAPI description", .showsWorkerLog, .timeLimit(.minutes(3)))
struct OpenAPITests {
    /// What the script says at the end of `ask`.
    private struct Figures: Decodable {
        var requests: Int
        var refusedRequests: Int
        var refusedResponses: Int
    }

    /// What the script says of an exchange that it passed on.
    private struct Exchange: Decodable {
        var method: String
        var path: String
        var requestId: String?
        var form: String
        var status: Int
        var problems: [String]
    }

    private static func arguments(_ mode: String, _ url: String) throws -> [String] {
        let package = try PackageFolder.url
        return [
            package.appendingPathComponent("Tests/IntegrationTests/Scripts/openapi_check.py").path, mode,
            package.appendingPathComponent("deploy/openapi/interaction-sandbox.yaml").path, url,
        ]
    }

    @Test("The sandbox answers good and bad requests, every code, faults and token requests as described")
    func sandbox() async throws {
        var logger = Logger(label: "sandbox")
        logger.logLevel = .critical
        try await Sandbox.withRunning(logger: logger) { _, url in
            let codes = ErrorCatalog.entries.keys.sorted().map(String.init)
            let output = try await ChildProcess.run(
                URL(fileURLWithPath: TestPython.interpreter), Self.arguments("ask", url) + codes)
            let figures = try JSONDecoder().decode(Figures.self, from: Data(output.utf8))
            #expect(figures.requests > 2 * codes.count)
            // The validator tells bad from good.
            #expect(figures.refusedRequests > 0)
            #expect(figures.refusedResponses > 0)
        }
    }

    @Test("The worker's requests fit the description, in every form of the call, as JSON and as a form")
    func worker() async throws {
        var options = HarnessOptions()
        options.usesOrgsFolder = true
        try await withHarness(options) { harness in
            let proxy = try ChildProcess(
                URL(fileURLWithPath: TestPython.interpreter),
                try Self.arguments("proxy", try await harness.sandbox.baseURL))
            defer { proxy.send(SIGKILL) }
            let words = try await proxy.line(containing: "listening on port").split(separator: " ")
            let url = "http://127.0.0.1:\(try #require(words.last))"
            try await harness.addOAuthOrg("json", url: url)
            _ = try harness.folder.write(
                "id: 00D000000000004\nbaseURL: \(url)\nbodyFormat: multipart\n", to: "orgs/multipart.yaml")
            _ = try await harness.startWorker()

            // A member that the description does not have passes the worker, and must not pass the validator.
            let strange = CommandSpec(
                kind: "delete", requestID: newID(), org: "json",
                payload: Array(#"{"conversationIdentifier":"c","cancelreason":"Cancel"}"#.utf8))
            let commands = ["json", "multipart"].flatMap(Self.commands)
            let answers = try harness.collectAnswers()
            try await harness.send(commands + [strange])
            let all = try await answers.first(commands.count + 1)
            #expect(all.allSatisfy { $0.outcome == .succeeded || $0.requestID == strange.requestID })

            // One more for the token.
            let count = commands.count + 2
            let lines = try await eventually("what the proxy says of \(count) exchanges") {
                let lines = proxy.transcript.split(separator: "\n").dropFirst()
                return lines.count >= count ? lines : nil
            }
            let exchanges = try lines.map { try JSONDecoder().decode(Exchange.self, from: Data($0.utf8)) }
            #expect(exchanges.count == count)
            for exchange in exchanges { #expect(exchange.problems.isEmpty == (exchange.requestId != strange.id)) }
            let fitting = exchanges.filter { $0.requestId != strange.id }
            #expect(exchanges.count { $0.path == "/services/oauth2/token" && $0.status == 200 } == 1)
            for form in ["application/json", "multipart/form-data"] {
                let those = fitting.filter { $0.path == "/api/v1/route" && $0.form == form && $0.status == 202 }
                #expect(those.count == commands.count / 2)
                #expect(Set(those.map(\.method)) == ["POST", "DELETE"])
            }
        }
    }

    /// Each way to route as each routing type and in each kind of context, then deletes of those for each reason.
    private static func commands(org: String) -> [CommandSpec] {
        let targets = [
            "", #","routingInfo":{"queueId":"00G000000000001"}"#,
            #","routingInfo":{"flow":{"flowId":"300000000000001","queueId":"00G000000000001"},"routingAttributes":{"a":"ä"}}"#,
        ]
        let contexts = [
            nil, "ConversationChannelDefinition", "EmbeddedMessagingChannel", "ExternalConversationParticipant",
        ]
        let reasons = ["Unknown", "Unavailable", "Decline", "Cancel"].map { #","cancelReason":"\#($0)""# } + [""]
        let command = { (kind: String, contextType: String?, members: String) in
            CommandSpec(
                kind: kind, requestID: newID(), org: org, contextType: contextType, payload: Array("{\(members)}".utf8))
        }
        var commands: [CommandSpec] = []
        for type in ["Initial", "Transfer", "Conference"] {
            for target in targets {
                let conversation = #""conversationIdentifier":"\#(newID())""#
                let number = commands.count / 2
                let members = #"\#(conversation),"routingType":"\#(type)"\#(target)"#
                commands.append(command("route", contexts[number % contexts.count], members))
                commands.append(command("delete", nil, conversation + reasons[number % reasons.count]))
            }
        }
        return commands
    }
}
