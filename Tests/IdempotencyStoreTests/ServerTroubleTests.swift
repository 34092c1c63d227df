// What stores on servers say when somebody must act, and that they never say a password.

import Foundation
import IdempotencyStore
import PostgresIdempotencyStore
import RedisIdempotencyStore
import RoutingContract
import TestSupport
import Testing

@Suite struct ServerTroubleTests {
    /// How a fresh store at that place refuses to work.
    private func refusal(_ place: ServerPlace, _ wish: ClaimRequest = request(key(1))) async throws -> StoreError? {
        let store = try place.store()
        defer { Task { await store.close() } }
        do throws(StoreError) {
            _ = try await store.claim(wish)
            return nil
        } catch {
            return error
        }
    }

    private func edited(_ kind: TestDatabase, _ edit: (inout URLComponents) -> Void) throws -> ServerPlace {
        var parts = try #require(URLComponents(string: kind.url))
        edit(&parts)
        return ServerPlace(kind: kind, url: try #require(parts.string))
    }

    @Test(arguments: TestDatabase.allCases)
    func aWrongPasswordIsToldButNotShown(_ kind: TestDatabase) async throws {
        let place = try edited(kind) { $0.password = "hush-hush" }
        guard case .unusable(let why) = try await refusal(place) else {
            Issue.record("expected unusable")
            return
        }
        #expect(why.contains("set user and password in the store's URL"), "\(why)")
        #expect(!why.contains("hush"))
    }

    @Test func aPasswordWithoutAUserIsThatOfTheDefaultUser() async throws {
        let place = try edited(.redis) { $0.user = "" }
        #expect(try await refusal(place) == nil)
    }

    @Test func aMissingPasswordOfRedisIsTold() async throws {
        let place = try edited(.redis) { ($0.user, $0.password) = (nil, nil) }
        guard case .unusable(let why) = try await refusal(place) else {
            Issue.record("expected unusable")
            return
        }
        #expect(why.contains("NOAUTH") && why.contains("set user and password"), "\(why)")
    }

    @Test func aMissingDatabaseIsTold() async throws {
        let place = try edited(.postgres) { $0.path = "/no-such-database" }
        guard case .unusable(let why) = try await refusal(place) else {
            Issue.record("expected unusable")
            return
        }
        #expect(why.contains("\"no-such-database\" does not exist: create it (createdb)"), "\(why)")
    }

    @Test(arguments: TestDatabase.allCases)
    func aServerThatIsNotThereIsUnavailable(_ kind: TestDatabase) async throws {
        let port = try FreePort.find()
        let place = try edited(kind) { $0.port = port }
        guard case .unavailable(let why) = try await refusal(place) else {
            Issue.record("expected unavailable")
            return
        }
        #expect(why.contains("127.0.0.1") && why.contains("refused") && why.contains("\(port)"), "\(why)")
    }

    @Test func aUserWithoutRightsIsTold() async throws {
        let url = try await freshSchema()
        let role = uniqueName("role").replacing("-", with: "_")
        try await psql(url, "CREATE ROLE \(role) LOGIN PASSWORD 'x'")
        var parts = try #require(URLComponents(string: url))
        (parts.user, parts.password) = (role, "x")
        let place = ServerPlace(kind: .postgres, url: try #require(parts.string))
        guard case .unusable(let why) = try await refusal(place) else {
            Issue.record("expected unusable")
            return
        }
        #expect(why.contains("let the user use that schema, and create tables in it"), "\(why)")
        let schema = try await psql(url, "SELECT current_schema()")
        try await psql(url, "GRANT USAGE ON SCHEMA \(schema) TO \(role)")
        guard case .unusable(let why) = try await refusal(place) else {
            Issue.record("expected unusable")
            return
        }
        #expect(why.contains("the user needs SELECT, INSERT, UPDATE and DELETE"), "\(why)")
    }

    @Test func aUserWithoutTheRightToCreateUsesTablesThatAreThere() async throws {
        let url = try await freshSchema()
        #expect(try await refusal(ServerPlace(kind: .postgres, url: url)) == nil)
        let role = uniqueName("role").replacing("-", with: "_")
        let schema = try await psql(url, "SELECT current_schema()")
        for statement in [
            "CREATE ROLE \(role) LOGIN PASSWORD 'x'", "GRANT USAGE ON SCHEMA \(schema) TO \(role)",
            "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA \(schema) TO \(role)",
            "GRANT USAGE ON ALL SEQUENCES IN SCHEMA \(schema) TO \(role)",
        ] {
            try await psql(url, statement)
        }
        var parts = try #require(URLComponents(string: url))
        (parts.user, parts.password) = (role, "x")
        let place = ServerPlace(kind: .postgres, url: try #require(parts.string))
        #expect(try await refusal(place, request(key(2))) == nil)
    }

    /// Whoever grants what the message names has granted enough.
    @Test func theRightsThatRedisAsksForAreAllThatItTakes() async throws {
        let (url, user) = (try TestDatabase.redis.url, uniqueName("user"))
        var parts = try #require(URLComponents(string: url))
        (parts.user, parts.password) = (user, "x")
        let place = ServerPlace(kind: .redis, url: try #require(parts.string))
        try await redisCLI(url, "ACL", "SETUSER", user, "on", ">x", "~*")
        guard case .unusable(let why) = try await refusal(place) else {
            Issue.record("expected unusable")
            return
        }
        for word in why.split(whereSeparator: { !$0.isLetter }) where word.count > 2 && word.allSatisfy(\.isUppercase) {
            guard !["NOPERM", "URL"].contains(word) else { continue }
            try await redisCLI(url, "ACL", "SETUSER", user, "+\(word.lowercased())")
        }
        let store = try place.store()
        let claim = try #require(try await store.claim(request(key(1))).acquired)
        #expect(try await store.record(result(.succeeded), for: claim) == .held)
        let other = try #require(try await store.claim(request(key(2, .delete), issuedAt: start)).acquired)
        #expect(try await store.release(other, as: .unbound) == .held)
        _ = try await store.purge(limit: 10)
        let conversation = ConversationKey(org: someOrg, conversation: "c")
        #expect(try await store.commands(of: conversation, progress: { _ in }) == [key(1)])
        await store.close()
        try await redisCLI(url, "ACL", "DELUSER", user)
    }

    /// Not unusable: a failover makes it, or another, the primary.
    @Test func aReadOnlyPostgresIsTold() async throws {
        let place = try edited(.postgres) { $0.percentEncodedQuery = "options=-cdefault_transaction_read_only%3Don" }
        guard case .unavailable(let why) = try await refusal(place) else {
            Issue.record("expected unavailable")
            return
        }
        #expect(why.contains("name the primary"), "\(why)")
    }

    @Test func aReplicaOfRedisIsTold() async throws {
        try await withPrivateDatabase(.redis, settings: ["replicaof=127.0.0.1 1"]) { server in
            guard case .unavailable(let why) = try await refusal(ServerPlace(server)) else {
                Issue.record("expected unavailable")
                return
            }
            #expect(why.contains("name the primary"), "\(why)")
        }
    }

    @Test func aRedisWithoutMemoryIsFullAndGoesOnWithMore() async throws {
        try await withPrivateDatabase(.redis, settings: ["maxmemory=1kb", "maxmemory-policy=noeviction"]) { server in
            let store = try ServerPlace(server).store()
            do throws(StoreError) {
                _ = try await store.claim(request(key(1)))
                Issue.record("expected full")
            } catch {
                guard case .full(let why) = error else { throw error }
                #expect(why.contains("raise its maxmemory"), "\(why)")
            }
            try await redisCLI(server.url, "CONFIG", "SET", "maxmemory", "0")
            #expect(try await store.claim(request(key(1))).acquired != nil)
            await store.close()
        }
    }

    /// Also where what comes first in line is to stay: that would have to be put into its place in the line anew.
    @Test func aRedisWithoutMemoryIsStillPurged() async throws {
        try await withPrivateDatabase(.redis, settings: ["maxmemory-policy=noeviction"]) { server in
            let clock = HandClock()
            let store = try ServerPlace(server).store(clock: clock.storeClock)
            for (number, outcome) in [(UInt8(1), Outcome.rejected), (2, .succeeded)] {
                let claim = try #require(try await store.claim(request(key(number))).acquired)
                #expect(try await store.record(result(outcome), for: claim) == .held)
            }
            clock.advance(by: .seconds(25 * 3600))
            try await redisCLI(server.url, "CONFIG", "SET", "maxmemory", "1kb")
            #expect(try await store.purge(limit: 10) == 1)
            #expect(try await store.purge(limit: 10) == 0)
            #expect(try await store.find(key(1)) != nil)
            clock.advance(by: .seconds(14 * 24 * 3600))
            #expect(try await store.purge(limit: 10) == 1)
            await store.close()
        }
    }

    @Test func scriptsThatWereFlushedAreLoadedAgain() async throws {
        try await withPrivateDatabase(.redis) { server in
            let store = try ServerPlace(server).store()
            _ = try await store.claim(request(key(1)))
            try await redisCLI(server.url, "SCRIPT", "FLUSH")
            #expect(try await store.claim(request(key(2))).acquired != nil)
            await store.close()
        }
    }

    // MARK: Versions and damage

    @Test func tablesOfALaterVersionAreUsedOnlyIfTheySayThatTheyCanBe() async throws {
        let url = try await freshSchema()
        let place = ServerPlace(kind: .postgres, url: url)
        #expect(try await refusal(place) == nil)
        try await psql(url, "UPDATE route_worker_schema SET version = 9")
        #expect(try await refusal(place, request(key(2))) == nil)
        try await psql(url, "UPDATE route_worker_schema SET oldest_reader = 3")
        guard case .unusable(let why) = try await refusal(place) else {
            Issue.record("expected unusable")
            return
        }
        #expect(why.contains("its tables have version 9, this worker knows 2: run the newer worker"), "\(why)")
    }

    @Test(arguments: TestDatabase.allCases)
    func aRecordThatCannotBeReadFailsAlone(_ kind: TestDatabase) async throws {
        let place = try await ServerPlace.shared(kind)
        let store = try place.store()
        let claim = try #require(try await store.claim(request(key(1))).acquired)
        switch kind {
        case .postgres:
            try await psql(place.url, "UPDATE route_worker_command SET record = set_byte(record, 0, 2)")
        case .redis:
            let name = try await redisCLI(place.url, "--raw", "KEYS", "\(place.namespace):c:*")
            try await redisCLI(place.url, "SET", name, "1;\u{2}")
        }
        for attempt in 0..<2 {
            do throws(StoreError) {
                if attempt == 0 { _ = try await store.claim(request(key(1))) }
                if attempt == 1 { _ = try await store.record(result(.succeeded), for: claim) }
                Issue.record("expected unusable")
            } catch {
                guard case .unusable(let why) = error else { throw error }
                #expect(why.contains("format 2"), "\(why)")
            }
        }
        #expect(try await store.claim(request(key(2))).acquired != nil)
        await store.close()
    }

    // MARK: URLs

    @Test(arguments: [
        "redis://u:hush@h:1/x", "redis://u:hush@h:1/0?a=hush", "rediss://u:hush@h/x", "http://u:hush@h", "redis://",
        "hush",
    ])
    func whatIsNoURLOfRedisIsRefusedWithoutShowingIt(_ url: String) {
        let error = #expect(throws: StoreError.self) { try RedisTarget(url: url) }
        #expect(error.map { !"\($0)".contains("hush") } == true)
    }

    @Test(arguments: ["http://u:hush@h/d", "postgres://u:hush%zz@h/d", "postgres://u:p@h/d?hush=1", "hush"])
    func whatIsNoURLOfPostgresIsRefusedWithoutShowingIt(_ url: String) {
        let error = #expect(throws: StoreError.self) { try PostgresTarget(url: url) }
        #expect(error.map { !"\($0)".contains("hush") } == true)
    }

    @Test func targetsNeverShowAPassword() throws {
        let redis = try RedisTarget(url: "redis://u%40x:hu%3Ash@[::1]:7000/3")
        #expect(redis.user == "u@x" && redis.password == "hu:sh")
        #expect(redis.host == "::1" && redis.port == 7000 && redis.database == 3)
        let postgres = try PostgresTarget(url: "postgres://u:hush@h:5433/d?sslmode=verify-full&password=hush")
        #expect(postgres.description == "postgres://h:5433/d")
        for shown in ["\(redis)", String(reflecting: redis), "\(postgres)", String(reflecting: postgres)] {
            #expect(!shown.contains("hu"), "\(shown)")
        }
        var dump = ""
        Swift.dump(redis, to: &dump)
        Swift.dump(postgres, to: &dump)
        #expect(!dump.contains("hu"), "\(dump)")
    }
}
