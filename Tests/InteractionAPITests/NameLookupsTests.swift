// Names that are looked up: beside each other, and each once.

import Dispatch
import NIOConcurrencyHelpers
import NIOCore
import NIOPosix
import Testing

@testable import InteractionAPI

@Suite(.timeLimit(.minutes(1))) struct NameLookupsTests {
    private let loop = MultiThreadedEventLoopGroup.singleton.next()

    private func names(_ lookup: @escaping NameLookups.Lookup) async throws -> NIOLoopBound<NameLookups> {
        try await loop.submit { [loop] in
            NIOLoopBound(NameLookups(eventLoop: loop, lookup: lookup), eventLoop: loop)
        }.get()
    }

    private typealias Addresses = EventLoopFuture<[SocketAddress]>

    private func ask(_ names: NIOLoopBound<NameLookups>, _ host: String) async throws -> Addresses {
        try await loop.submit { names.value.addresses(of: host, 443) }.get()
    }

    @Test func aSlowNameKeepsNoOtherWaitingAndIsAskedForOnce() async throws {
        let gate = DispatchSemaphore(value: 0)
        let asked = NIOLockedValueBox<[String]>([])
        let names = try await names { host, port in
            asked.withLockedValue { $0.append(host) }
            if host == "slow.test" { gate.wait() }
            return [try SocketAddress(ipAddress: "127.0.0.1", port: port)]
        }
        var slow: [Addresses] = []
        for _ in 0..<64 { slow.append(try await ask(names, "slow.test")) }
        #expect(try await ask(names, "quick.test").get().map(\.port) == [443])
        gate.signal()
        for addresses in slow { #expect(try await addresses.get().count == 1) }
        #expect(asked.withLockedValue { $0.sorted() } == ["quick.test", "slow.test"])
        // Later it may have others.
        gate.signal()
        _ = try await ask(names, "slow.test").get()
        #expect(asked.withLockedValue { $0.count } == 3)
    }

    @Test func addressesOfBothFamiliesAreFound() async throws {
        let names = try await loop.submit { [loop] in
            NIOLoopBound(NameLookups(eventLoop: loop), eventLoop: loop)
        }.get()
        #expect(try await ask(names, "127.0.0.1").get() == [SocketAddress(ipAddress: "127.0.0.1", port: 443)])
        #expect(try await ask(names, "::1").get() == [SocketAddress(ipAddress: "::1", port: 443)])
        // RFC 6761 §6.4: never resolves.
        let nowhere = try await ask(names, "no.such.host.invalid")
        await #expect(throws: NameNotFound.self) { try await nowhere.get() }
    }
}
