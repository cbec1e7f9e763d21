// The session tutorial everybody knows, as an app of some years has it: accounts in mongoose, passwords in bcryptjs, sessions in connect-mongo.
// It knows nothing of Hallpass. What the original gets wrong is right here: the password is checked, the id is new after a login, and a
// logout is one thing after another.
import bcrypt from 'bcryptjs';
import MongoStore from 'connect-mongo';
import express from 'express';
import session from 'express-session';
import mongoose from 'mongoose';

const DAY = 24 * 60 * 60;
const { MONGO_URL, SESSION_SECRET, PORT = '3000', BCRYPT_COST = '10' } = process.env;

await mongoose.connect(MONGO_URL);
const User = mongoose.model('User', new mongoose.Schema({
  email: { type: String, unique: true, required: true },
  password: { type: String, required: true },
  name: String,
}));
await User.init();

const app = express();
app.set('trust proxy', 1);
app.use(express.json());
app.use(session({
  secret: SESSION_SECRET,
  resave: false,
  saveUninitialized: false,
  rolling: true,
  cookie: { maxAge: 7 * DAY * 1000, sameSite: 'lax', httpOnly: true, secure: process.env.NODE_ENV === 'production' },
  store: MongoStore.create({ client: mongoose.connection.getClient(), collectionName: 'sessions', ttl: 14 * DAY }),
}));
app.use((req, res, next) => {
  res.set('X-Served-By', 'express');
  next();
});

/** A new id, then the user: whoever knew the visitor's id does not know the session. */
const establish = (req, user) => new Promise((resolve, reject) => {
  const { cart } = req.session;
  req.session.regenerate((error) => {
    if (error) return reject(error);
    Object.assign(req.session, { userId: user._id, ...(cart && { cart }) });
    return req.session.save((failed) => (failed ? reject(failed) : resolve()));
  });
});

const guard = (req, res, next) => (req.session.userId ? next() : res.status(401).json({ message: 'Unauthorized' }));

app.post('/auth/register', async (req, res) => {
  const { email, password, name } = req.body;
  try {
    const user = await User.create({ email, password: await bcrypt.hash(password, Number(BCRYPT_COST)), name });
    await establish(req, user);
    res.status(201).json({ message: 'Registered' });
  } catch (error) {
    if (error.code !== 11000) throw error;
    res.status(409).json({ message: 'There is an account with this address already' });
  }
});

app.post('/auth/login', async (req, res) => {
  const user = await User.findOne({ email: String(req.body?.email) });
  if (!user || !(await bcrypt.compare(String(req.body?.password), user.password))) {
    return res.status(400).json({ message: 'Invalid credentials' });
  }
  await establish(req, user);
  return res.json({ message: 'Logged in successfully' });
});

app.post('/auth/logout', (req, res, next) => {
  req.session.destroy((error) => {
    if (error) return next(error);
    res.clearCookie('connect.sid');
    return res.json({ message: 'Logged out successfully' });
  });
});

app.get('/auth/me', guard, async (req, res) => {
  const user = await User.findById(req.session.userId);
  res.json({ email: user.email, name: user.name ?? null });
});

app.get('/cart', guard, (req, res) => res.json({ cart: req.session.cart ?? {} }));

app.post('/cart', guard, (req, res) => {
  const { item } = req.body;
  const cart = req.session.cart ?? {};
  cart[item] = (cart[item] ?? 0) + 1;
  req.session.cart = cart;
  res.json({ cart });
});

app.listen(Number(PORT), '127.0.0.1', () => console.log(`express listens on ${PORT}`));
