// The client: what a command looks like on the wire, and what is refused before.

import NIOCore
import NIOPosix
import RoutingContract
import Testing

@testable import InteractionAPI

private let org = OrgID("00D000000000001")!

private func command(_ kind: CommandKind, _ change: (inout RouteCommand) -> Void = { _ in }) -> RouteCommand {
    let key = CommandKey(org: org, kind: kind, request: RequestID("0F3C9C8E-2B7A-4D51-9A3E-5D7C1B2A4E6F")!)
    var command = RouteCommand(
        key: key, context: "Acme_Channel", contextType: "ConversationChannelDefinition", conversation: "c",
        payload: Array("{ \"conversationIdentifier\" :\"c\\u00e9\"}\n".utf8),
        fingerprint: Fingerprint(bytes: [UInt8](repeating: 0, count: 32)))
    change(&command)
    return command
}

private func client(
    _ baseURL: String, token: String? = "00D!secret", _ change: (inout InteractionClientSettings) -> Void = { _ in }
) throws -> InteractionClient {
    let loop = MultiThreadedEventLoopGroup.singleton.next()
    var settings = InteractionClientSettings(endpoints: [OrgEndpoint(org: org, baseURL: baseURL)])
    change(&settings)
    let tokens = FixedTokens(
        [org: .environment("TOKEN")], environment: token.map { ["TOKEN": $0] } ?? [:], eventLoop: loop)
    return try InteractionClient(settings: settings, tokens: tokens, eventLoop: loop)
}

@Suite(.timeLimit(.minutes(2))) struct InteractionClientTests {
    @Test func routeOnTheWire() async throws {
        let server = try await ScriptedServer()
        let client = try client("http://127.0.0.1:\(server.port)/base/") { $0.userAgent = "test/1" }
        let command = command(.route) { $0.reply.trace = TraceContext(traceparent: "00-a-b-01", tracestate: "k=v") }
        async let result = client.perform(command, timeout: .seconds(60))
        let peer = await server.accept()
        let request = await peer.readRequest()
        #expect(request?.line == "POST /base/api/v1/route HTTP/1.1")
        #expect(request?.body == command.payload)
        #expect(
            request?.headers == [
                "host": "127.0.0.1:\(server.port)", "user-agent": "test/1", "accept": "application/json",
                "content-type": "application/json", "orgid": "00D000000000001", "authorization": "Bearer 00D!secret",
                "authorizationcontext": "Acme_Channel", "authorizationcontexttype": "ConversationChannelDefinition",
                "requestid": "0f3c9c8e-2b7a-4d51-9a3e-5d7c1b2a4e6f", "traceparent": "00-a-b-01", "tracestate": "k=v",
                "content-length": "\(command.payload.count)",
            ])
        peer.answer()
        #expect(await result.answer?.status == 202)
        await client.shutDown()
        try await server.stop()
    }

    @Test func deleteOnTheWire() async throws {
        let server = try await ScriptedServer()
        let client = try client("http://127.0.0.1:\(server.port)")
        // A trace header that cannot be one is left out, and the call made.
        let command = command(.delete) { $0.reply.trace = TraceContext(traceparent: "a\r\nX: y", tracestate: "ü") }
        async let result = client.perform(command, timeout: .seconds(60))
        let peer = await server.accept()
        let request = await peer.readRequest()
        #expect(request?.line == "DELETE /api/v1/route HTTP/1.1")
        #expect(request?.body == command.payload)
        #expect(
            Set(request.map { Array($0.headers.keys) } ?? []) == [
                "host", "user-agent", "accept", "content-type", "orgid", "authorization", "authorizationcontext",
                "requestid",
                "content-length",
            ])
        peer.answer()
        #expect(await result.answer?.status == 202)
        await client.shutDown()
        try await server.stop()
    }

    @Test func overTLSWithAnExtraAuthority() async throws {
        let certificates = try Certificates.shared.get()
        let server = try await ScriptedServer(tls: certificates.context(.good))
        let client = try client("https://localhost:\(server.port)") { $0.extraCAFile = certificates.authorityFile }
        async let result = client.perform(command(.route), timeout: .seconds(60))
        let peer = await server.accept()
        #expect(await peer.readRequest()?.headers["authorization"] == "Bearer 00D!secret")
        peer.answer()
        #expect(await result.answer?.status == 202)
        await client.shutDown()
        try await server.stop()
    }

    @Test func withoutToken() async throws {
        let client = try client("https://acme.test", token: nil)
        let result = await client.perform(command(.route), timeout: .seconds(60))
        #expect(result.unsentReason == CallFailure.Reason.tokenUnavailable)
        await client.shutDown()
    }

    @Test func unknownOrg() async throws {
        let client = try client("https://acme.test")
        let stranger = command(.route) {
            $0.key = CommandKey(org: OrgID("00D000000000002")!, kind: .route, request: $0.key.request)
        }
        #expect(
            await client.perform(stranger, timeout: .seconds(60)).unsentReason == CallFailure.Reason.orgNotConfigured)
        await client.shutDown()
    }

    @Test(arguments: ["", "a\r\nX: y", "a\nb", "a\u{0}", "ü", "a\u{7F}"])
    func unsafeContexts(context: String) async throws {
        let client = try client("https://acme.test")
        let result = await client.perform(command(.route) { $0.context = context }, timeout: .seconds(60))
        #expect(result.unsentReason == CallFailure.Reason.unsafeHeader)
        if !context.isEmpty {
            let typed = await client.perform(command(.route) { $0.contextType = context }, timeout: .seconds(60))
            #expect(typed.unsentReason == CallFailure.Reason.unsafeHeader)
        }
        await client.shutDown()
    }

    @Test func endlessTimeoutsAreCut() async throws {
        let server = try await ScriptedServer()
        let client = try client("http://127.0.0.1:\(server.port)")
        async let result = client.perform(command(.route), timeout: .seconds(Int64.max))
        let peer = await server.accept()
        _ = await peer.readRequest()
        peer.answer()
        #expect(await result.answer?.status == 202)
        #expect(await client.perform(command(.route), timeout: .seconds(-1)).unsentReason == CallFailure.Reason.timeout)
        await client.shutDown()
        try await server.stop()
    }

    // MARK: Refused tokens and forms

    /// Gives `one`, and instead of it what it was made with.
    private struct TwoTokens: AccessTokens {
        var other: Result<AccessToken, TokenFailure>?

        func token(for org: OrgID, timeout: Duration) async -> Result<AccessToken, TokenFailure> {
            .success(AccessToken("one")!)
        }

        func token(
            for org: OrgID, insteadOf refused: AccessToken, timeout: Duration
        ) async -> Result<AccessToken, TokenFailure>? {
            refused == AccessToken("one")! ? other : nil
        }

        func shutDown() async {}
    }

    private func withTokens(
        _ other: Result<AccessToken, TokenFailure>?,
        _ body: (InteractionClient, ScriptedServer) async throws -> Void
    ) async throws {
        let server = try await ScriptedServer()
        let endpoint = OrgEndpoint(org: org, baseURL: "http://127.0.0.1:\(server.port)")
        let client = try InteractionClient(
            settings: InteractionClientSettings(endpoints: [endpoint]), tokens: TwoTokens(other: other),
            eventLoop: MultiThreadedEventLoopGroup.singleton.next())
        try await body(client, server)
        await client.shutDown()
        #expect(await server.requestsLeft() == 0)
        try await server.stop()
    }

    /// Every answer that refuses a token, and some that look alike.
    @Test(arguments: [
        ("401 Unauthorized", "", true), ("401 Unauthorized", #"{"code":10004,"message":"x"}"#, true),
        ("403 Forbidden", #"{"code":10004}"#, true), ("400 Bad Request", #"{"code":"10004"}"#, true),
        ("202 Accepted", #"{"success":false,"errors":{"apiErrorCode":10004}}"#, true),
        ("401 Unauthorized", #"{"code":10003}"#, false), ("403 Forbidden", "", false),
        ("202 Accepted", #"{"success":true,"psrId":"10004"}"#, false), ("202 Accepted", "10004", false),
        ("500 Internal Server Error", "10004", false), ("500 Internal Server Error", "1000", false),
    ])
    func aRefusedTokenIsReplacedOnce(status: String, body: String, isReplaced: Bool) async throws {
        try await withTokens(.success(AccessToken("two")!)) { client, server in
            async let result = client.perform(command(.route), timeout: .seconds(60))
            let peer = await server.accept()
            #expect(await peer.readRequest()?.headers["authorization"] == "Bearer one")
            peer.answer(status, body)
            if isReplaced {
                #expect(await peer.readRequest()?.headers["authorization"] == "Bearer two")
                // Refused again: that is the answer.
                peer.answer("401 Unauthorized", "second")
                #expect(await result.answerBody == "second")
            } else {
                #expect(await result.answerBody == body)
            }
            #expect(await result.refusedRequests == (isReplaced ? 1 : 0))
        }
    }

    @Test func whatBecomesOfTheSecondRequestIsWhatCounts() async throws {
        try await withTokens(.success(AccessToken("two")!)) { client, server in
            async let result = client.perform(command(.route), timeout: .seconds(60))
            let peer = await server.accept()
            _ = await peer.readRequest()
            peer.answer("401 Unauthorized", "")
            _ = await peer.readRequest()
            try await peer.reset()
            #expect(await result.unknownReason != nil)
            #expect(await result.refusedRequests == 1)
        }
    }

    @Test func bothRequestsShareOneTimeout() async throws {
        try await withTokens(.success(AccessToken("two")!)) { client, server in
            async let result = client.perform(command(.route), timeout: .seconds(3))
            let peer = await server.accept()
            _ = await peer.readRequest()
            peer.answer("401 Unauthorized", "")
            _ = await peer.readRequest()
            // Never answered: the timeout of the whole call ends it, not one of its own.
            let unknown = await result
            #expect(unknown.unknownReason == CallFailure.Reason.timeout)
            #expect(unknown.refusedRequests == 1)
        }
    }

    @Test func withoutAnotherTokenTheAnswerStands() async throws {
        for other in [nil, Result<AccessToken, TokenFailure>.failure(TokenFailure("not approved"))] {
            try await withTokens(other) { client, server in
                async let result = client.perform(command(.route), timeout: .seconds(60))
                let peer = await server.accept()
                _ = await peer.readRequest()
                peer.answer("401 Unauthorized", "no")
                if other == nil {
                    #expect(await result.answerBody == "no")
                    #expect(await result.refusedRequests == 0)
                } else {
                    guard case .notSent(let failure) = await result else { Issue.record("it was sent"); return }
                    #expect(failure.reason == CallFailure.Reason.tokenUnavailable)
                    #expect(failure.message.contains("not approved"))
                    #expect(failure.refusedRequests == 1)
                }
            }
        }
    }

    @Test func aFormOnTheWire() async throws {
        let server = try await ScriptedServer()
        let client = try client("http://127.0.0.1:\(server.port)") { $0.endpoints[0].bodyFormat = .multipart }
        let command = command(.route)
        async let result = client.perform(command, timeout: .seconds(60))
        let peer = await server.accept()
        let request = try #require(await peer.readRequest())
        let type = request.headers["content-type"] ?? ""
        let boundary = try #require(type.wholeMatch(of: #/multipart/form-data; boundary=([a-z0-9-]{20,70})/#)?.1)
        let head =
            "--\(boundary)\r\nContent-Disposition: form-data; name=\"json\"\r\nContent-Type: application/json\r\n\r\n"
        #expect(request.body == Array(head.utf8) + command.payload + Array("\r\n--\(boundary)--\r\n".utf8))
        peer.answer()
        #expect(await result.answer?.status == 202)
        await client.shutDown()
        try await server.stop()
    }

    // MARK: Settings

    @Test func plainHTTPIsForThisMachineAlone() throws {
        #expect(throws: InteractionSettingsError.self) { try client("http://acme.test") }
        _ = try client("http://acme.test") { $0.allowsPlainHTTP = true }
        _ = try client("http://localhost:8080")
    }

    @Test func settingsThatCannotBe() throws {
        #expect(throws: InteractionSettingsError.self) {
            try client("https://acme.test") { $0.endpoints += $0.endpoints }
        }
        #expect(throws: InteractionSettingsError.self) { try client("https://acme.test") { $0.userAgent = "a\r\nb" } }
        #expect(throws: InteractionSettingsError.self) {
            try client("https://acme.test") { $0.extraCAFile = "/no/such/file" }
        }
        #expect(throws: InteractionSettingsError.self) {
            try client("https://acme.test") { $0.extraCAFile = "/dev/null" }
        }
        #expect(throws: InteractionSettingsError.self) {
            try client("https://10.0.0.1") { $0.proxy = HTTPProxy(host: "proxy.test", port: 3128) }
        }
        #expect(throws: InteractionSettingsError.self) {
            try client("https://acme.test") {
                $0.proxy = HTTPProxy(host: "proxy.test", port: 3128, authorization: "Basic x\r\ny")
            }
        }
    }

    @Test func theProxysSecretIsNotDescribed() {
        let proxy = HTTPProxy(host: "proxy.test", port: 3128, authorization: "Basic hush")
        var dumped = ""
        dump(proxy, to: &dumped)
        for text in ["\(proxy)", String(reflecting: proxy), dumped] { #expect(!text.contains("hush")) }
    }
}
