// TLS to the stores' servers: whom we trust, and whom we take it for.

import Foundation
import IdempotencyStore
import PostgresIdempotencyStore
import RedisIdempotencyStore
import RoutingContract
import TestSupport
import Testing

@Suite(.timeLimit(.minutes(3))) struct StoreTLSTests {
    /// The place by way of another host name, with other parameters.
    private func edited(
        _ place: ServerPlace, host: String = "localhost", _ edit: (inout URLComponents) -> Void = { _ in }
    ) throws -> ServerPlace {
        var parts = try #require(URLComponents(string: place.url))
        parts.host = host
        edit(&parts)
        return ServerPlace(kind: place.kind, url: try #require(parts.string), namespace: place.namespace)
    }

    /// Why the place cannot be used; where it can be, `nil`.
    private func refusal(_ place: ServerPlace, caFile: String?) async throws -> String? {
        let store = try place.store(caFile: caFile)
        var why: String?
        do throws(StoreError) {
            _ = try await store.claim(request(key(9), nonce: 9))
        } catch {
            guard case .unusable(let text) = error else { throw error }
            why = text
        }
        await store.close()
        return why
    }

    @Test(arguments: TestDatabase.allCases)
    func aTrustedServerOfTheRightNameIsUsedAndNoOther(_ kind: TestDatabase) async throws {
        let keys = try await TestKeys()
        try await withPrivateDatabase(kind, tls: keys.server) { server in
            let place = try edited(ServerPlace(server))
            let (trusted, stranger) = (keys.path("trusted.pem"), keys.path("stranger.pem"))

            let why = try #require(try await refusal(place, caFile: stranger))
            #expect(why.contains("certificate") && why.contains("store.caFile"), "\(why)")
            let wrongName = try #require(
                try await refusal(try edited(place, host: "127.0.0.1"), caFile: trusted))
            switch kind {
            case .postgres: #expect(wrongName.contains("does not match host name \"127.0.0.1\""), "\(wrongName)")
            case .redis: #expect(wrongName.contains("its certificate is for another host"), "\(wrongName)")
            }
            let missing = try #require(try await refusal(place, caFile: keys.path("missing.pem")))
            #expect(missing.contains("missing.pem"), "\(missing)")
            let wrongPassword = try #require(
                try await refusal(try edited(place) { $0.password = "hush-hush" }, caFile: trusted))
            #expect(wrongPassword.contains("set user and password"), "\(wrongPassword)")
            for text in [why, wrongName, missing, wrongPassword] { #expect(!text.contains("hush")) }

            let store = try place.store(caFile: trusted)
            let claim = try #require(try await store.claim(request(key(1))).acquired)
            #expect(try await store.record(result(.succeeded), for: claim) == .held)
            #expect(try await store.claim(request(key(1))) == .completed(result(.succeeded), replay: 0))

            // More at once than any buffer on the way holds.
            var large = result(.rejected)
            large.response = APIResponse(Array(repeating: UInt8(ascii: "x"), count: 256 << 10))
            try await withThrowingTaskGroup(of: Void.self) { group in
                for number in UInt8(10)..<42 {
                    group.addTask { [large] in
                        let claim = try #require(try await store.claim(request(key(number))).acquired)
                        #expect(try await store.record(large, for: claim) == .held)
                        #expect(try await store.claim(request(key(number))) == .completed(large, replay: 0))
                    }
                }
                try await group.waitForAll()
            }

            try await server.restart()
            #expect(try await store.claim(request(key(1))) == .completed(result(.succeeded), replay: 0))
            await store.close()
        }
    }

    @Test func aFrozenRedisBehindTLSIsGivenUpAndFoundAgain() async throws {
        let keys = try await TestKeys()
        try await withPrivateDatabase(.redis, tls: keys.server) { server in
            let place = try edited(ServerPlace(server))
            let store = try place.store(timeLimit: .seconds(2), caFile: keys.path("trusted.pem"))
            _ = try await store.claim(request(key(0)))
            try await server.suspend()
            // The second one meets no connection, and a server that accepts it without shaking hands.
            for expected in ["did not answer within 2000 ms", "the TLS handshake did not end in time"] {
                do throws(StoreError) {
                    _ = try await store.claim(request(key(1), nonce: 7))
                    Issue.record("a frozen server answered")
                } catch {
                    #expect("\(error)".contains(expected), "\(error)")
                }
            }
            try await server.resume()
            #expect(try await store.claim(request(key(1), nonce: 7)).acquired != nil)

            try await server.kill()
            do throws(StoreError) {
                _ = try await store.claim(request(key(2)))
                Issue.record("a dead server answered")
            } catch {
                guard case .unavailable = error else { throw error }
            }
            await store.close()
        }
    }

    @Test func aUserOfRedisLogsInOverTLS() async throws {
        let keys = try await TestKeys()
        let user = "user=worker on >a%secret ~* +@all"
        try await withPrivateDatabase(.redis, settings: [user], tls: keys.server) { server in
            let place = try edited(ServerPlace(server)) { ($0.user, $0.password) = ("worker", "a%secret") }
            #expect(try await refusal(place, caFile: keys.path("trusted.pem")) == nil)
            let other = try edited(place) { $0.user = "nobody" }
            let why = try #require(try await refusal(other, caFile: keys.path("trusted.pem")))
            #expect(why.contains("WRONGPASS"), "\(why)")
        }
    }

    @Test func aRedisWithoutTLSIsTold() async throws {
        let place = try edited(try await ServerPlace.shared(.redis)) { $0.scheme = "rediss" }
        let store = try place.store(timeLimit: .seconds(1))
        do throws(StoreError) {
            _ = try await store.claim(request(key(1)))
            Issue.record("a Redis without TLS answered")
        } catch {
            #expect("\(error)".contains("does it speak TLS on this port?"), "\(error)")
        }
        await store.close()
    }

    @Test func aPostgresWithoutTLSIsToldWhereItIsAskedFor() async throws {
        let keys = try await TestKeys()
        let place = try await ServerPlace.shared(.postgres)
        let why = try #require(try await refusal(place, caFile: keys.path("trusted.pem")))
        #expect(why.contains("does not support SSL") && why.contains("store.caFile"), "\(why)")
    }

    /// As libpq has it, without a setting of ours.
    @Test func aPostgresURLMayNameItsAuthorityItself() async throws {
        let keys = try await TestKeys()
        try await withPrivateDatabase(.postgres, tls: keys.server) { server in
            let plain = ServerPlace(server)
            for (authority, mode, isTrusted) in [
                ("trusted", "verify-full", true), ("stranger", "verify-full", false), ("stranger", "require", false),
            ] {
                let place = try edited(plain) {
                    $0.query = "sslmode=\(mode)&sslrootcert=\(keys.path(authority + ".pem"))"
                }
                #expect(try await refusal(place, caFile: nil) == nil || !isTrusted, "\(authority), \(mode)")
                // What the URL says counts for more than the setting.
                let why = try await refusal(place, caFile: keys.path("trusted.pem"))
                #expect((why == nil) == isTrusted, "\(authority), \(mode): \(why ?? "trusted")")
            }
        }
    }
}
