// Looking up the hosts of connections beside the event loop.

import Dispatch
import Glibc
import NIOCore
import NIOPosix

/// Looks names up, several at a time, and each once however many connections wait for it. Lives on the event loop alone.
///
/// NIO's own resolver asks for one name after the other for all of an event loop and never gives a question up: behind the
/// name of one org, of which the name server says nothing (5 s for each try, resolv.conf(5)), no other org could be reached.
final class NameLookups {
    typealias Lookup = @Sendable (_ host: String, _ port: Int) throws -> [SocketAddress]

    private let eventLoop: any EventLoop
    private let lookup: Lookup
    private var underWay: [String: EventLoopFuture<[SocketAddress]>] = [:]

    /// - Parameter lookup: may block.
    init(eventLoop: any EventLoop, lookup: @escaping Lookup = NameLookups.system) {
        self.eventLoop = eventLoop
        self.lookup = lookup
    }

    /// For one connection.
    func resolver(of host: String, _ port: Int) -> some Resolver & Sendable {
        NameResolver(addresses: addresses(of: host, port))
    }

    func addresses(of host: String, _ port: Int) -> EventLoopFuture<[SocketAddress]> {
        let name = "\(host) \(port)"
        if let addresses = underWay[name] { return addresses }
        let promise = eventLoop.makePromise(of: [SocketAddress].self)
        underWay[name] = promise.futureResult
        promise.futureResult.assumeIsolated().whenComplete { _ in self.underWay[name] = nil }
        // Its threads grow in number while some of them block.
        DispatchQueue.global().async { [lookup] in promise.completeWith(Result { try lookup(host, port) }) }
        return promise.futureResult
    }

    /// Asks the system (getaddrinfo(3)), which blocks the thread.
    private static let system: Lookup = { host, port in
        var hints = addrinfo()
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        hints.ai_protocol = Int32(IPPROTO_TCP)
        var list: UnsafeMutablePointer<addrinfo>?
        let code = getaddrinfo(host, "\(port)", &hints, &list)
        guard code == 0 else { throw NameNotFound(description: String(cString: gai_strerror(code))) }
        defer { freeaddrinfo(list) }
        return sequence(first: list) { $0?.pointee.ai_next }.compactMap { SocketAddress($0?.pointee, host: host) }
    }
}

/// Why a name has no address, in the system's words.
struct NameNotFound: Error, CustomStringConvertible {
    let description: String
}

/// Gives a connection the addresses that are looked up for it.
private struct NameResolver: Resolver, Sendable {
    let addresses: EventLoopFuture<[SocketAddress]>

    func initiateAQuery(host: String, port: Int) -> EventLoopFuture<[SocketAddress]> {
        addresses.map { $0.filter { $0.protocol == .inet } }
    }

    func initiateAAAAQuery(host: String, port: Int) -> EventLoopFuture<[SocketAddress]> {
        addresses.map { $0.filter { $0.protocol == .inet6 } }
    }

    /// Others may wait for the same name.
    func cancelQueries() {}
}

extension SocketAddress {
    /// `nil` for families that no connection is made to.
    fileprivate init?(_ info: addrinfo?, host: String) {
        guard let info, let address = UnsafeRawPointer(info.ai_addr) else { return nil }
        switch info.ai_family {
        case AF_INET: self.init(address.loadUnaligned(as: sockaddr_in.self), host: host)
        case AF_INET6: self.init(address.loadUnaligned(as: sockaddr_in6.self), host: host)
        default: return nil
        }
    }
}
