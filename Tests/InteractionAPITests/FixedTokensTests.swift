// Fixed tokens: from files that change and from the environment, and never in a text.

import Foundation
import NIOCore
import NIOPosix
import RoutingContract
import TestSupport
import Testing

@testable import InteractionAPI

@Suite struct FixedTokensTests {
    private let org = OrgID("00D000000000001")!
    private let temporary: TemporaryFolder
    private var folder: URL { temporary.url }

    init() throws { temporary = try TemporaryFolder() }

    private func tokens(_ source: TokenSource, _ environment: [String: String] = [:], every interval: Duration = .zero)
        -> FixedTokens
    {
        FixedTokens(
            [org: source], environment: environment, eventLoop: MultiThreadedEventLoopGroup.singleton.next(),
            checkInterval: interval)
    }

    private func authorization(_ tokens: FixedTokens) async -> String? {
        try? await tokens.token(for: org, timeout: .seconds(60)).get().authorization
    }

    @Test func aFileIsReadAgainWhenItChanges() async throws {
        let file = folder.appending(path: "token")
        let tokens = tokens(.file(file.path()))
        #expect(await authorization(tokens) == nil)
        try Data("one\n".utf8).write(to: file)
        #expect(await authorization(tokens) == "Bearer one")
        #expect(await authorization(tokens) == "Bearer one")
        // Replaced by another file of the same size, as secret mounts do.
        try Data("two\n".utf8).write(to: file, options: .atomic)
        #expect(await authorization(tokens) == "Bearer two")
        // Written in place.
        let handle = try FileHandle(forWritingTo: file)
        try handle.write(contentsOf: Data("  three\r\n".utf8))
        try handle.close()
        #expect(await authorization(tokens) == "Bearer three")
        try FileManager.default.removeItem(at: file)
        #expect(await authorization(tokens) == nil)
        try Data("three".utf8).write(to: file)
        #expect(await authorization(tokens) == "Bearer three")
    }

    @Test func aFileIsLookedAtOncePerInterval() async throws {
        let file = folder.appending(path: "token")
        try Data("one".utf8).write(to: file)
        let tokens = tokens(.file(file.path()), every: .seconds(3600))
        #expect(await authorization(tokens) == "Bearer one")
        try Data("another".utf8).write(to: file)
        #expect(await authorization(tokens) == "Bearer one")
    }

    @Test(arguments: [
        ("", "is empty"), (" \n\t ", "is empty"), ("one two", "something else"), ("one\ntwo", "something else"),
        ("t\u{0}k", "something else"), ("tökèn", "something else"),
        (String(repeating: "x", count: 20_000), "something else"),
        (String(repeating: "x", count: 70_000), "larger than"),
    ])
    func filesWithoutToken(text: String, complaint: String) async throws {
        let file = folder.appending(path: "token")
        try Data(text.utf8).write(to: file)
        let result = await tokens(.file(file.path())).token(for: org, timeout: .seconds(60))
        let failure = #expect(throws: TokenFailure.self) { try result.get() }
        #expect(failure?.description.contains(complaint) == true)
        #expect(failure?.description.contains(file.path()) == true)
        #expect(failure?.description.contains("two") == false)
    }

    @Test func noFileAtAll() async throws {
        let result = await tokens(.file(folder.appending(path: "none").path())).token(for: org, timeout: .seconds(60))
        #expect(throws: TokenFailure.self) { try result.get() }
    }

    @Test func neitherFoldersNorPipes() async throws {
        let pipe = folder.appending(path: "pipe").path()
        #expect(mkfifo(pipe, 0o600) == 0)
        for path in [folder.path(), pipe] {
            let result = await tokens(.file(path)).token(for: org, timeout: .seconds(60))
            let failure = #expect(throws: TokenFailure.self) { try result.get() }
            #expect(failure?.description.contains("regular file") == true)
        }
    }

    @Test func environment() async throws {
        #expect(await authorization(tokens(.environment("T"), ["T": " tok!en= "])) == "Bearer tok!en=")
        #expect(await authorization(tokens(.environment("T"), ["T": ""])) == nil)
        #expect(await authorization(tokens(.environment("T"))) == nil)
    }

    @Test func anotherOrgGetsNone() async throws {
        let tokens = tokens(.environment("T"), ["T": "token"])
        let result = await tokens.token(for: OrgID("00D000000000002")!, timeout: .seconds(60))
        #expect(throws: TokenFailure.self) { try result.get() }
    }

    @Test func aRefusedTokenIsReplacedByWhatTheFileHoldsByNow() async throws {
        let file = folder.appending(path: "token")
        try Data("one".utf8).write(to: file)
        let tokens = tokens(.file(file.path()), every: .seconds(3600))
        let one = try await tokens.token(for: org, timeout: .seconds(60)).get()
        #expect(await tokens.token(for: org, insteadOf: one, timeout: .seconds(60)) == nil)
        try Data("another".utf8).write(to: file)
        let other = try await tokens.token(for: org, insteadOf: one, timeout: .seconds(60))?.get()
        #expect(other?.authorization == "Bearer another")
        try FileManager.default.removeItem(at: file)
        #expect(await tokens.token(for: org, insteadOf: one, timeout: .seconds(60)) == nil)
        let fixed = self.tokens(.environment("T"), ["T": "one"])
        #expect(await fixed.token(for: org, insteadOf: one, timeout: .seconds(60)) == nil)
    }

    @Test func aTokenOfAnotherOrgIsNotGivenOut() async throws {
        #expect(await authorization(tokens(.environment("T"), ["T": "00D000000000001!x"])) != nil)
        let result = await tokens(.environment("T"), ["T": "00D000000000002!hush"])
            .token(for: org, timeout: .seconds(60))
        let failure = #expect(throws: TokenFailure.self) { try result.get() }
        #expect(failure?.description.contains("a token of org 00D000000000002") == true)
        #expect(failure?.description.contains("hush") == false)
    }

    @Test func noTextShowsAToken() throws {
        let token = try #require(AccessToken("hush"))
        var dumped = ""
        dump(token, to: &dumped)
        dump([token: Result<AccessToken, TokenFailure>.success(token)], to: &dumped)
        for text in ["\(token)", String(reflecting: token), "\(Optional(token) as Any)", "\([token])", dumped] {
            #expect(!text.contains("hush"), "\(text)")
        }
        #expect(token.authorization == "Bearer hush")
    }
}
