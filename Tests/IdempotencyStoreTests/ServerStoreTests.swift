// What concerns stores on servers: many workers, connections that end at the worst moment, servers that die and freeze.

import Foundation
import IdempotencyStore
import RoutingContract
import TestSupport
import Testing

@Suite struct ServerStoreTests {
    // MARK: Many workers

    @Test(arguments: TestDatabase.allCases)
    func workersThatStartTogetherOnAnEmptyServerAllStart(_ kind: TestDatabase) async throws {
        let place = try await ServerPlace.shared(kind)
        let stores = try (0..<8).map { _ in try place.store() }
        let tokens = try await withThrowingTaskGroup(of: Int64?.self) { group in
            for (number, store) in stores.enumerated() {
                group.addTask { try await store.claim(request(key(UInt8(number)))).acquired?.token }
            }
            return try await group.reduce(into: []) { $0.append($1) }
        }
        #expect(Set(tokens.compactMap(\.self)).count == 8)
        if kind == .postgres {
            #expect(try await psql(place.url, "SELECT * FROM route_worker_schema") == "2|1")
        }
        for store in stores { await store.close() }
    }

    /// The planner takes tables that were empty when it first looked for empty until the server analyses them.
    @Test func postgresFindsCommandsByTheirKeysInTablesThatAreNew() async throws {
        let place = try await ServerPlace.shared(.postgres)
        let store = try place.store()
        // Several batches of many, since a plan is made for good after a few.
        for round in UInt8(0)..<8 {
            try await withThrowingTaskGroup(of: Void.self) { group in
                for number in UInt8(0)..<25 {
                    group.addTask {
                        let claim = try #require(try await store.claim(request(key(25 * round + number))).acquired)
                        _ = try await store.record(result(.succeeded), for: claim)
                    }
                }
                try await group.waitForAll()
            }
        }
        await store.close()
        // The server counts what a connection did when that has gone.
        let scans = try await eventually("the server's counts") { () -> String? in
            let counts = try await psql(
                place.url,
                """
                SELECT seq_scan, seq_tup_read FROM pg_stat_user_tables
                WHERE relid = 'route_worker_command'::regclass AND idx_scan >= 50
                """)
            return counts.isEmpty ? nil : counts
        }
        #expect(scans.hasSuffix("|0"), "sequential scans and the rows they read: \(scans)")
    }

    /// What a role, a database or the URL says is weaker than what the store promises.
    @Test(arguments: ["off", "local", "remote_write", "on", "remote_apply"])
    func postgresCommitsNoWeakerThanOn(_ setting: String) async throws {
        let place = try await ServerPlace.shared(.postgres)
        let store = try ServerPlace(
            kind: .postgres, url: place.url + "%20-csynchronous_commit%3D\(setting)"
        ).store()
        _ = try await store.claim(request(key(1)))
        try await psql(
            place.url,
            """
            CREATE TABLE seen (setting text);
            CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
                'BEGIN INSERT INTO seen VALUES (current_setting(''synchronous_commit'')); RETURN NULL; END';
            CREATE TRIGGER note AFTER INSERT ON route_worker_command EXECUTE FUNCTION note();
            """)
        _ = try await store.claim(request(key(2)))
        await store.close()
        #expect(try await psql(place.url, "SELECT setting FROM seen") == (setting == "remote_apply" ? setting : "on"))
    }

    @Test(arguments: TestDatabase.allCases)
    func workersRacingForTheSameCommandsGetEachOnce(_ kind: TestDatabase) async throws {
        let place = try await ServerPlace.shared(kind)
        let stores = try (0..<4).map { _ in try place.store() }
        let results = try await withThrowingTaskGroup(of: (UInt8, ClaimResult).self) { group in
            for number in UInt8(0)..<20 {
                for racer in 0..<16 {
                    // Deletes too: their marks are written by everybody at once.
                    let kind: CommandKind = number % 2 == 0 ? .route : .delete
                    group.addTask {
                        let wish = request(key(number, kind), conversation: "c\(number % 3)", issuedAt: start)
                        return (number, try await stores[racer % 4].claim(wish))
                    }
                }
            }
            return try await group.reduce(into: []) { $0.append($1) }
        }
        for number in UInt8(0)..<20 {
            #expect(results.count { $0.0 == number && $0.1.claim != nil } == 1, "command \(number)")
        }
        #expect(Set(results.compactMap(\.1.claim?.token)).count == 20)
        for store in stores { await store.close() }
    }

    @Test(arguments: TestDatabase.allCases)
    func theServersClockJudgesTheLease(_ kind: TestDatabase) async throws {
        let place = try await ServerPlace.shared(kind)
        let (first, second) = (try place.store(), try place.store())
        let claim = try #require(try await first.claim(request(key(1), lease: .milliseconds(400))).acquired)
        let answer = try await eventually("the end of the lease") { () -> ClaimResult? in
            let answer = try await second.claim(request(key(1)))
            guard case .inProgress(let left) = answer else { return answer }
            #expect(left <= .milliseconds(400))
            return nil
        }
        guard case .interrupted(let newer) = answer else {
            Issue.record("expected interrupted, not \(answer)")
            return
        }
        #expect(newer.token > claim.token)
        #expect(try await first.record(result(.succeeded), for: claim) == .lost)
        await first.close()
        await second.close()
    }

    @Test(arguments: TestDatabase.allCases)
    func aDeleteSupersedesTheRoutesOfOtherWorkers(_ kind: TestDatabase) async throws {
        let place = try await ServerPlace.shared(kind)
        let (first, second) = (try place.store(), try place.store())
        _ = try await first.claim(request(key(1, .delete), issuedAt: start))
        guard case .superseded = try await second.claim(request(key(2), issuedAt: start + .seconds(-1))) else {
            Issue.record("expected superseded")
            return
        }
        #expect(try await second.claim(request(key(3), issuedAt: start + .seconds(1))).acquired != nil)
        await first.close()
        await second.close()
    }

    // MARK: Purging beside the others

    @Test(arguments: TestDatabase.allCases)
    func aPurgeBesideClaimsTakesNothingThatWasClaimedAnew(_ kind: TestDatabase) async throws {
        let (place, clock) = (try await ServerPlace.shared(kind), HandClock())
        let worker = try place.store(clock: clock.storeClock)
        let cleaner = try place.store(clock: clock.storeClock)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for number in UInt8(0)..<250 {
                group.addTask {
                    let claim = try #require(try await worker.claim(request(key(number))).acquired)
                    #expect(try await worker.record(result(.succeeded), for: claim) == .held)
                }
            }
            try await group.waitForAll()
        }
        clock.advance(by: .seconds(2 * 24 * 3600))
        async let removed = cleaner.purge(limit: 1000)
        var anew: [UInt8] = []
        for number in UInt8(0)..<250 {
            switch try await worker.claim(request(key(number))) {
            case .acquired: anew.append(number)
            case .completed(let found, _): #expect(found == result(.succeeded))
            case let other: Issue.record("\(number): \(other)")
            }
        }
        // What a claim was looking at is left for the next purge.
        let (first, second) = (try await removed, try await cleaner.purge(limit: 1000))
        #expect(first + second == 250)
        for number in anew { #expect(try await worker.claim(request(key(number))) == .inProgress(.seconds(30))) }
        await worker.close()
        await cleaner.close()
    }

    @Test func aPurgeWaitsForNobodyWhoHoldsARow() async throws {
        let (place, clock) = (try await ServerPlace.shared(.postgres), HandClock())
        let store = try place.store(clock: clock.storeClock)
        for number in UInt8(0)..<3 {
            let claim = try #require(try await store.claim(request(key(number))).acquired)
            #expect(try await store.record(result(.succeeded), for: claim) == .held)
        }
        clock.advance(by: .seconds(2 * 24 * 3600))
        // Holds the first row until it is ended.
        let holder = try ChildProcess(
            URL(fileURLWithPath: "/usr/bin/env"),
            [
                "psql", place.url, "-qAtXc",
                "SELECT pg_sleep(600) FROM (SELECT FROM route_worker_command ORDER BY key LIMIT 1 FOR UPDATE) AS held",
            ])
        let sleeping = "FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND query LIKE '%AS held'"
        try await until("a row that is held") { try await psql(place.url, "SELECT count(*) \(sleeping)") == "1" }
        #expect(try await store.purge(limit: 100) == 2)
        try await psql(place.url, "SELECT pg_terminate_backend(pid) \(sleeping)")
        _ = await holder.exit()
        #expect(try await store.purge(limit: 100) == 1)
        await store.close()
    }

    // MARK: Connections that are cut

    @Test(arguments: TestDatabase.allCases)
    func anAnswerThatIsLostLeavesTheClaimToAskForAgain(_ kind: TestDatabase) async throws {
        let place = try await ServerPlace.shared(kind)
        let proxy = try CuttingProxy(to: try #require(URLComponents(string: place.url)?.port))
        let (store, other) = (try place.through(port: proxy.port).store(), try place.store())
        _ = try await store.claim(request(key(0)))

        // The first piece answers the read; the second would say that it is written.
        proxy.cutNext(.answers, after: 1)
        await #expect(throws: StoreError.self) { try await store.claim(request(key(1), nonce: 7)) }
        #expect(proxy.cutCount == 1)
        guard case .inProgress = try await other.claim(request(key(1), nonce: 8)) else {
            Issue.record("the claim was not made")
            return
        }
        let claim = try #require(try await store.claim(request(key(1), nonce: 7)).acquired)

        proxy.cutNext(.answers, after: 1)
        await #expect(throws: StoreError.self) { try await store.record(result(.succeeded), for: claim) }
        #expect(proxy.cutCount == 2)
        #expect(try await other.claim(request(key(1))) == .completed(result(.succeeded), replay: 0))
        #expect(try await store.record(result(.succeeded), for: claim) == .held)
        proxy.stop()
        await store.close()
        await other.close()
    }

    @Test(arguments: TestDatabase.allCases)
    func aWriteThatIsLostHasNotHappened(_ kind: TestDatabase) async throws {
        let place = try await ServerPlace.shared(kind)
        let proxy = try CuttingProxy(to: try #require(URLComponents(string: place.url)?.port))
        let (store, other) = (try place.through(port: proxy.port).store(), try place.store())
        let held = try #require(try await store.claim(request(key(0))).acquired)

        proxy.cutNext(.requests, after: 1)
        await #expect(throws: StoreError.self) { try await store.claim(request(key(1))) }
        let claim = try #require(try await other.claim(request(key(1))).acquired)
        #expect(try await store.record(result(.succeeded), for: held) == .held)

        proxy.cutNext(.requests, after: 1)
        await #expect(throws: StoreError.self) { try await store.release(claim, as: .unbound) }
        #expect(proxy.cutCount == 2)
        #expect(try await other.record(result(.succeeded), for: claim) == .held)
        proxy.stop()
        await store.close()
        await other.close()
    }

    @Test(arguments: TestDatabase.allCases)
    func aConnectionLostBeforeTheWriteIsMadeAnewUnnoticed(_ kind: TestDatabase) async throws {
        let place = try await ServerPlace.shared(kind)
        let proxy = try CuttingProxy(to: try #require(URLComponents(string: place.url)?.port))
        let store = try place.through(port: proxy.port).store()
        _ = try await store.claim(request(key(0)))
        for (number, direction) in [(UInt8(1), CuttingProxy.Direction.requests), (2, .answers)] {
            proxy.cutNext(direction, after: 0)
            #expect(try await store.claim(request(key(number))).acquired != nil)
        }
        #expect(proxy.cutCount == 2)
        proxy.stop()
        await store.close()
    }

    // MARK: Servers that die and freeze

    @Test(arguments: TestDatabase.allCases)
    func aServerThatWasKilledComesBackWithWhatItAnswered(_ kind: TestDatabase) async throws {
        // As Redis usually is, it answers before it has written while its disk is busy.
        let settings = kind == .redis ? ["appendfsync=always"] : []
        try await withPrivateDatabase(kind, settings: settings) { server in
            let store = try ServerPlace(server).store(timeLimit: .seconds(5))
            let done = try #require(try await store.claim(request(key(1))).acquired)
            #expect(try await store.record(result(.rejected, reason: "queue-invalid"), for: done) == .held)
            let held = try #require(try await store.claim(request(key(2), nonce: 7)).acquired)

            try await server.kill()
            for number in UInt8(3)..<5 {
                do throws(StoreError) {
                    _ = try await store.claim(request(key(number)))
                    Issue.record("a dead server answered")
                } catch {
                    guard case .unavailable = error else { throw error }
                }
            }
            try await server.restart()

            #expect(
                try await store.claim(request(key(1)))
                    == .completed(result(.rejected, reason: "queue-invalid"), replay: 0))
            guard case .inProgress = try await store.claim(request(key(2))) else {
                Issue.record("the claim was forgotten")
                return
            }
            let again = try #require(try await store.claim(request(key(2), nonce: 7)).acquired)
            #expect(again.token > held.token)
            await store.close()
        }
    }

    @Test(arguments: TestDatabase.allCases)
    func aServerThatRestartedWhileNobodyAskedIsFoundAgain(_ kind: TestDatabase) async throws {
        try await withPrivateDatabase(kind) { server in
            let store = try ServerPlace(server).store()
            let claim = try #require(try await store.claim(request(key(1))).acquired)
            try await server.restart()
            #expect(try await store.record(result(.succeeded), for: claim) == .held)
            await store.close()
        }
    }

    @Test(arguments: TestDatabase.allCases)
    func aFrozenServerIsGivenUpAndFoundAgain(_ kind: TestDatabase) async throws {
        try await withPrivateDatabase(kind) { server in
            // Makes the schema, which may take its time.
            let patient = try ServerPlace(server).store()
            _ = try await patient.claim(request(key(0)))
            let store = try ServerPlace(kind: kind, url: server.url).store(timeLimit: .seconds(1))
            _ = try await store.claim(request(key(8)))
            try await server.suspend()
            // The second one meets no connection, and a server that accepts it without answering.
            for _ in 0..<2 {
                do throws(StoreError) {
                    _ = try await store.claim(request(key(1), nonce: 7))
                    Issue.record("a frozen server answered")
                } catch {
                    // The backend's own limit, not that of the batching, which is longer.
                    #expect("\(error)".contains("did not answer within 1000 ms"))
                }
            }
            try await server.resume()
            // What it was asked before may still hold locks for a moment.
            #expect(try await patient.claim(request(key(9))).acquired != nil)
            #expect(try await store.claim(request(key(1), nonce: 7)).acquired != nil)
            await patient.close()
            await store.close()
        }
    }
}
