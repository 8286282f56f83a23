// npm's thrift as servers, and as callers of every other implementation's servers.
//
// Usage: thrift_peers.mjs serve
// It serves on free ports, prints `ready NAME=PORT...` and goes on until it is ended.
//
// Usage: thrift_peers.mjs call TARGET...
// A target is `plain=HOST:PORT` or `tls=HOST:PORT`, a listener of the gateway. It asks every case
// of every target in every dialect, and ends with `N passed, M failed`.
// The library is looked for in the folder that RINGWAY_NODE_MODULES names, or where Node looks by
// itself.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const folder = process.env.RINGWAY_NODE_MODULES;
const thrift = createRequire(folder ? pathToFileURL(`${folder}/`) : import.meta.url)('thrift');

const { MessageType, Type } = thrift.Thrift;
const DIALECTS = {
    framed_binary: { transport: thrift.TFramedTransport, protocol: thrift.TBinaryProtocol },
    framed_compact: { transport: thrift.TFramedTransport, protocol: thrift.TCompactProtocol },
    buffered_binary: { transport: thrift.TBufferedTransport, protocol: thrift.TBinaryProtocol },
    buffered_compact: { transport: thrift.TBufferedTransport, protocol: thrift.TCompactProtocol },
    theader_binary: { transport: thrift.TBufferedTransport, protocol: thrift.THeaderProtocol },
};

// The arguments of every method are a string of id 1, its result one of id 0.
function writeText(output, id, text) {
    output.writeStructBegin('Text');
    output.writeFieldBegin('text', Type.STRING, id);
    output.writeString(text);
    output.writeFieldEnd();
    output.writeFieldStop();
    output.writeStructEnd();
}

function readText(input) {
    let text;
    input.readStructBegin();
    for (;;) {
        const { ftype } = input.readFieldBegin();
        if (ftype === Type.STOP) break;
        assert.equal(ftype, Type.STRING);
        text = input.readString();
        input.readFieldEnd();
    }
    input.readStructEnd();
    input.readMessageEnd();
    return text;
}

// Answers any method with what it was given, and knows what it was told one way.
class Echo {
    told = new Map();
    waiting = new Map();

    process(input, output) {
        const { fname, mtype, rseqid } = input.readMessageBegin();
        const text = readText(input);
        if (mtype === MessageType.ONEWAY) {
            this.told.set(text, (this.told.get(text) ?? 0) + 1);
            for (const answer of this.waiting.get(text) ?? []) answer();
            this.waiting.delete(text);
            return;
        }
        const reply = (success) => {
            output.writeMessageBegin(fname, MessageType.REPLY, rseqid);
            writeText(output, 0, success);
            output.writeMessageEnd();
            output.flush();
        };
        if (text === 'fail') {
            const kind = thrift.Thrift.TApplicationExceptionType.MISSING_RESULT;
            output.writeMessageBegin(fname, MessageType.EXCEPTION, rseqid);
            const error = new thrift.Thrift.TApplicationException(kind, 'as asked');
            // What is written as the type is the code, which the constructor does not set.
            error.code = kind;
            error.write(output);
            output.writeMessageEnd();
            output.flush();
        } else if (text.startsWith('told ')) {
            const told = text.slice('told '.length);
            const answer = () => reply(String(this.told.get(told)));
            if (this.told.has(told)) answer();
            else this.waiting.set(told, [...(this.waiting.get(told) ?? []), answer]);
        } else {
            reply(text);
        }
    }
}

async function serve() {
    const echo = new Echo();
    const stock = new thrift.MultiplexedProcessor();
    stock.registerProcessor('Stock', echo);
    const servers = { ...DIALECTS, stock: DIALECTS.framed_binary };
    const ports = [];
    for (const [name, dialect] of Object.entries(servers)) {
        const processor = name === 'stock' ? stock : echo;
        const server = thrift.createMultiplexServer(processor, dialect);
        server.on('error', (error) => console.error(name, error));
        await new Promise((done) => server.listen(0, '127.0.0.1', done));
        ports.push(`npm_${name}=${server.address().port}`);
    }
    console.log('ready', ...ports);
}

const ASKED = [
    ...['apache', 'thriftpy2', 'npm'].flatMap((peer) =>
        ['framed', 'buffered'].flatMap((transport) =>
            ['binary', 'compact'].map((encoding) => `${peer}_${transport}_${encoding}`),
        ),
    ),
    ...['npm_theader_binary', 'apache_theader'],
    ...['framed', 'buffered', 'ttheader', 'multiplexed'].map((transport) => `volo_${transport}`),
    'nowhere',
];
const TELLS = { tell_apache: 'apache_theader', tell_thriftpy2: 'thriftpy2_framed_binary' };
Object.assign(TELLS, { tell_npm: 'npm_buffered_binary', tell_volo: 'volo_ttheader' });

// Methods that lead to servers which read an encoding.
function serversFor(encoding) {
    const other = encoding === 'binary' ? '_compact' : '_binary';
    return ASKED.filter((method) => !method.endsWith(other) && method !== 'nowhere');
}

// What a compiler makes of the service, for any of its methods.
class Client {
    _seqid = 0;
    _reqs = {};

    constructor(output, Protocol) {
        this.output = output;
        this.Protocol = Protocol;
    }

    new_seqid() {
        return (this._seqid += 1);
    }

    send(method, kind, text, seqid) {
        const output = new this.Protocol(this.output);
        output.writeMessageBegin(method, kind, seqid);
        writeText(output, 1, text);
        output.writeMessageEnd();
        // Of a THeader the header has to be asked for: compiled code flushes the transport alone.
        if (output instanceof thrift.THeaderProtocol) output.flush();
        else this.output.flush();
    }

    call(method, text) {
        const seqid = this.new_seqid();
        return new Promise((answer, fail) => {
            this._reqs[seqid] = (error, success) => (error ? fail(error) : answer(success));
            this.send(method, MessageType.CALL, text, seqid);
        });
    }

    tell(method, text) {
        this.send(method, MessageType.ONEWAY, text, this.new_seqid());
    }

    receive(input, kind, seqid) {
        const callback = this._reqs[seqid];
        delete this._reqs[seqid];
        if (kind === MessageType.EXCEPTION) {
            const error = new thrift.Thrift.TApplicationException();
            error.read(input);
            input.readMessageEnd();
            callback(error);
        } else {
            callback(null, readText(input));
        }
    }
}
for (const method of ASKED) {
    Client.prototype[`recv_${method}`] = Client.prototype.receive;
}

class Connection {
    constructor(target, dialect) {
        const [kind, address] = target.split('=');
        const [host, port] = address.split(':');
        const options = { ...DIALECTS[dialect], rejectUnauthorized: false };
        const create = kind === 'tls' ? thrift.createSSLConnection : thrift.createConnection;
        this.connection = create(host, Number(port), options);
        this.failed = new Promise((_, fail) => this.connection.on('error', fail));
        this.failed.catch(() => {});
    }

    client(service) {
        if (!service) return thrift.createClient(Client, this.connection);
        return new thrift.Multiplexer().createClient(service, Client, this.connection);
    }

    // The answer, unless the connection fails before.
    within(answer) {
        return Promise.race([answer, this.failed]);
    }

    close() {
        this.connection.end();
    }
}

async function refused(connection, client, method, text) {
    try {
        await connection.within(client.call(method, text));
    } catch (error) {
        return [error.type, error.message];
    }
    throw new Error(`${method} was answered`);
}

const CASES = {
    async everyServer(open, name, encoding) {
        const connection = open();
        const client = connection.client();
        for (const method of serversFor(encoding)) {
            for (const text of ['', 'hello', 'ol\u00e1', 'x'.repeat(300_000)]) {
                assert.equal(await connection.within(client.call(method, text)), text, method);
            }
        }
        connection.close();
    },

    async exceptions(open, name, encoding) {
        const connection = open();
        const client = connection.client();
        for (const method of serversFor(encoding)) {
            const error = await refused(connection, client, method, 'fail');
            assert.deepEqual(error, [5, 'as asked'], method);
            assert.equal(await connection.within(client.call(method, 'on')), 'on');
        }
        assert.deepEqual(await refused(connection, client, 'nowhere', 'x'), [1, 'no_route']);
        connection.close();
    },

    async oneway(open, name, encoding) {
        const connection = open();
        const client = connection.client();
        for (const [tell, method] of Object.entries(TELLS)) {
            if (!serversFor(encoding).includes(method)) continue;
            client.tell(tell, `${name} ${tell}`);
            const told = client.call(method, `told ${name} ${tell}`);
            assert.equal(await connection.within(told), '1', tell);
        }
        connection.close();
    },

    // All before the first answer, on one connection.
    async manyAtOnce(open, name, encoding) {
        const connection = open();
        const client = connection.client();
        const methods = serversFor(encoding);
        const text = (_, index) => `${index} `.repeat(1 + (index % 50));
        const texts = Array.from({ length: 100 }, text);
        const ask = (text, index) => client.call(methods[index % methods.length], text);
        const calls = texts.map(ask);
        assert.deepEqual(await connection.within(Promise.all(calls)), texts);
        connection.close();
    },

    async multiplexed(open, name, encoding) {
        for (const [service, method, works] of [
            ['Orders', 'thriftpy2_framed_binary', encoding === 'binary'],
            ['Stock', 'npm_framed_binary', encoding === 'binary'],
            ['Nobody', 'nowhere', false],
        ]) {
            if (!works && service !== 'Nobody') continue;
            const connection = open();
            const client = connection.client(service);
            if (works) {
                assert.equal(await connection.within(client.call(method, service)), service);
            } else {
                assert.deepEqual(await refused(connection, client, method, 'x'), [1, 'no_route']);
            }
            connection.close();
        }
    },
};

async function askAll(targets) {
    let [passed, failed] = [0, 0];
    for (const target of targets) {
        for (const dialect of Object.keys(DIALECTS)) {
            for (const [caseName, ask] of Object.entries(CASES)) {
                const name = `${target.split('=')[0]} npm ${dialect}`;
                try {
                    await ask(() => new Connection(target, dialect), name, dialect.split('_')[1]);
                    passed += 1;
                } catch (error) {
                    failed += 1;
                    console.log(`FAILED ${name} ${caseName}: ${error.stack}`);
                }
            }
        }
    }
    console.log(`${passed} passed, ${failed} failed`);
    process.exit(failed > 0 ? 1 : 0);
}

const [mode, ...targets] = process.argv.slice(2);
await (mode === 'serve' ? serve() : askAll(targets));
