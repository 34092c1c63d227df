// Tokens from the sandbox, which verifies signatures, and calls made with them.

import Foundation
import InteractionSandbox
import NIOCore
import NIOPosix
import RoutingContract
import Testing

@testable import InteractionAPI

private func command(_ kind: CommandKind = .route, _ number: Int = 1) -> RouteCommand {
    var generator = SystemRandomNumberGenerator()
    let conversation = "conversation-\(number)"
    let body =
        kind == .route
        ? #"{"conversationIdentifier":"\#(conversation)","routingType":"Initial"}"#
        : #"{"conversationIdentifier":"\#(conversation)"}"#
    return RouteCommand(
        key: CommandKey(org: oauthOrg, kind: kind, request: .random(using: &generator)), context: "Partner1_Channel1",
        conversation: conversation, payload: Array(body.utf8),
        fingerprint: Fingerprint(bytes: [UInt8](repeating: 0, count: 32)))
}

/// Runs `body` with a client that gets its tokens from the sandbox.
private func withClient(
    _ baseURL: String, keys: [String]? = nil, clocks: TestClocks, format: BodyFormat = .json,
    _ body: (InteractionClient) async throws -> Void
) async throws {
    try await withTokens(baseURL + "/services/oauth2/token", keys: keys, clocks: clocks) { oauth in
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let client = try InteractionClient(
            settings: InteractionClientSettings(
                endpoints: [OrgEndpoint(org: oauthOrg, baseURL: baseURL, bodyFormat: format)]),
            tokens: TokensByOrg(fixed: FixedTokens([:], environment: [:], eventLoop: loop), oauth: oauth),
            eventLoop: loop)
        do {
            try await body(client)
        } catch {
            await client.shutDown()
            throw error
        }
        await client.shutDown()
    }
}

@Suite(.timeLimit(.minutes(2))) struct OAuthSandboxTests {
    @Test func bothFormsOfKeysGiveTokensThatAreAccepted() async throws {
        let keys = try TestKeys.shared.get()
        for file in [keys.pkcs1[0], keys.pkcs8[0]] {
            try await Sandbox.withRunning(settings: sandboxSettings([keys.publicKeys[0]]), logger: quiet) {
                sandbox, baseURL in
                try await withClient(baseURL, keys: [file], clocks: TestClocks()) { client in
                    // Many at once: one request for a token.
                    let commands = (0..<40).map { command(.route, $0) }
                    let statuses = await withTaskGroup { group in
                        for command in commands {
                            group.addTask { await client.perform(command, timeout: .seconds(60)).answer?.status }
                        }
                        return await group.reduce(into: [Int?]()) { $0.append($1) }
                    }
                    #expect(statuses == Array(repeating: 202, count: 40))
                    #expect(sandbox.summary().tokens.issued == 1)
                }
            }
        }
    }

    @Test func aRevokedTokenIsReplacedOnceWithinTheCall() async throws {
        let keys = try TestKeys.shared.get()
        let clocks = TestClocks()
        try await Sandbox.withRunning(settings: sandboxSettings([keys.publicKeys[0]]), logger: quiet) {
            sandbox, baseURL in
            try await withClient(baseURL, clocks: clocks) { client in
                let first = await client.perform(command(), timeout: .seconds(60))
                #expect(first.answer?.status == 202 && first.refusedRequests == 0)
                for kind in [CommandKind.route, .delete] {
                    clocks.advance(.seconds(60))
                    #expect(sandbox.revokeTokens(org: oauthOrg) == 1)
                    let command = command(kind)
                    let result = await client.perform(command, timeout: .seconds(60))
                    #expect(result.answer?.status == 202, "\(result)")
                    // Two requests, and it says so; one effect.
                    #expect(result.refusedRequests == 1)
                    let effects = sandbox.effects(of: command.key.request.description)
                    #expect(effects.requests == 2)
                    #expect(effects.effects == 1)
                }
                #expect(sandbox.summary().tokens.issued == 3)
            }
        }
    }

    @Test func manyCallsWithARevokedTokenShareOneNew() async throws {
        let keys = try TestKeys.shared.get()
        let clocks = TestClocks()
        try await Sandbox.withRunning(settings: sandboxSettings([keys.publicKeys[0]]), logger: quiet) {
            sandbox, baseURL in
            try await withClient(baseURL, clocks: clocks) { client in
                _ = await client.perform(command(), timeout: .seconds(60))
                clocks.advance(.seconds(60))
                sandbox.revokeTokens(org: oauthOrg)
                let statuses = await withTaskGroup { group in
                    for number in 0..<30 {
                        group.addTask {
                            await client.perform(command(.route, number), timeout: .seconds(60)).answer?.status
                        }
                    }
                    return await group.reduce(into: [Int?]()) { $0.append($1) }
                }
                #expect(statuses == Array(repeating: 202, count: 30))
                #expect(sandbox.summary().tokens.issued == 2)
            }
        }
    }

    @Test func aServerThatRefusesEveryTokenIsNotHammered() async throws {
        let keys = try TestKeys.shared.get()
        let clocks = TestClocks()
        var settings = sandboxSettings([keys.publicKeys[0]])
        settings.tokenLifetime = .zero
        try await Sandbox.withRunning(settings: settings, logger: quiet) { sandbox, baseURL in
            try await withClient(baseURL, clocks: clocks) { client in
                let first = await client.perform(command(), timeout: .seconds(60))
                #expect(first.unsentReason == CallFailure.Reason.tokenNotYet && first.refusedRequests == 1)
                for _ in 0..<20 {
                    let result = await client.perform(command(), timeout: .seconds(60))
                    #expect(result.unsentReason == CallFailure.Reason.tokenNotYet)
                }
                #expect(sandbox.summary().tokens.issued == 1)
                #expect(sandbox.summary().totals.requests == 1)
                for round in 1...5 {
                    clocks.advance(.seconds(10))
                    for _ in 0..<5 { _ = await client.perform(command(), timeout: .seconds(60)) }
                    #expect(sandbox.summary().tokens.issued == 1 + round)
                    #expect(sandbox.summary().totals.requests <= 1 + 2 * round)
                }
            }
        }
    }

    @Test func theNextKeyIsTriedWhereOneIsNotAccepted() async throws {
        let keys = try TestKeys.shared.get()
        try await Sandbox.withRunning(settings: sandboxSettings([keys.publicKeys[1]]), logger: quiet) {
            sandbox, baseURL in
            try await withClient(
                baseURL, keys: [keys.folder.path() + "/none", keys.pkcs1[0], keys.pkcs8[1]], clocks: TestClocks()
            ) { client in
                #expect(await client.perform(command(), timeout: .seconds(60)).answer?.status == 202)
                #expect(sandbox.summary().tokens.refused == 1)
                #expect(sandbox.summary().tokens.issued == 1)
            }
            // The operator hears of keys that do not serve.
            let log = LogLines()
            let url = baseURL + "/services/oauth2/token"
            try await withTokens(url, keys: [keys.pkcs1[0], keys.pkcs8[1]], logger: log.logger) { tokens in
                #expect(await tokens.get().token != nil)
                #expect(log.all.count == 1)
                #expect(log.all.first?.contains("upload the certificate") == true, "\(log.all)")
            }
        }
    }

    @Test func aKeyFileIsReadAgain() async throws {
        let keys = try TestKeys.shared.get()
        let clocks = TestClocks()
        let file = try keys.file(try String(contentsOfFile: keys.pkcs8[0], encoding: .utf8))
        try await Sandbox.withRunning(settings: sandboxSettings([keys.publicKeys[1]]), logger: quiet) {
            sandbox, baseURL in
            try await withTokens(baseURL + "/services/oauth2/token", keys: [file], clocks: clocks) { tokens in
                let refused = await tokens.get().complaint
                #expect(refused.contains("upload the certificate"), "\(refused)")
                #expect(refused.contains("invalid_grant"), "\(refused)")
                try keys.write(try String(contentsOfFile: keys.pkcs8[1], encoding: .utf8), to: file)
                // Not before the pause is over.
                #expect(await tokens.get().complaint.contains("is made in 10 s at the earliest"))
                clocks.advance(.seconds(60))
                #expect(await tokens.get().token != nil)
            }
        }
    }

    @Test func refusalsAreToldInTheTermsOfSetup() async throws {
        let keys = try TestKeys.shared.get()
        func complaint(
            _ settings: SandboxSettings, clocks: TestClocks = TestClocks(), org: OrgID = oauthOrg,
            _ change: @escaping (inout OAuthCredentials) -> Void = { _ in }
        ) async throws -> String {
            try await Sandbox.withRunning(settings: settings, logger: quiet) { _, baseURL in
                var text = ""
                try await withTokens(
                    baseURL + "/services/oauth2/token", clocks: clocks, org: org,
                    change: { change(&$0.orgs[org]!) }
                ) { text = await $0.get(org).complaint }
                return text
            }
        }
        let known = sandboxSettings([keys.publicKeys[0]])
        #expect(try await complaint(sandboxSettings([], hasUsername: "else")).contains("pre-authorised"))
        #expect(try await complaint(known) { $0.clientID = "other" }.contains("consumer key is not known"))
        #expect(
            try await complaint(known) { $0.audience = "https://login.example.com" }.contains("set audience to"))
        let late = try await complaint(known, clocks: TestClocks(skew: .seconds(-3600)))
        #expect(late.contains("set this machine's clock"), "\(late)")
        #expect(late.contains("s behind the endpoint's"), "\(late)")
        let early = try await complaint(known, clocks: TestClocks(skew: .seconds(3600)))
        #expect(early.contains("s ahead of the endpoint's"), "\(early)")
        // Another org's user: the token would be good, and is not used.
        let other = try await complaint(known, org: OrgID("00D000000000009")!)
        #expect(other.contains("a token of org 00D000000000001, and not of org 00D000000000009"), "\(other)")
    }

    @Test func payloadsTravelAsForms() async throws {
        let keys = try TestKeys.shared.get()
        try await Sandbox.withRunning(settings: sandboxSettings([keys.publicKeys[0]]), logger: quiet) {
            sandbox, baseURL in
            try await withClient(baseURL, clocks: TestClocks(), format: .multipart) { client in
                let route = command(.route, 7)
                #expect(await client.perform(route, timeout: .seconds(60)).answer?.status == 202)
                #expect(await client.perform(command(.delete, 7), timeout: .seconds(60)).answer?.status == 202)
                let entries = sandbox.ledger()
                #expect(entries.map(\.effect) == [.created, .cleared])
                #expect(entries.map(\.conversation) == ["conversation-7", "conversation-7"])
                let type = entries[0].headers?["Content-Type"] ?? ""
                #expect(type.hasPrefix("multipart/form-data; boundary="))
                #expect(entries[0].bodyBytes > route.payload.count)
            }
        }
    }
}
